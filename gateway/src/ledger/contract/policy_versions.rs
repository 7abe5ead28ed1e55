//! The versions of the policies, and the components that they keep.

use std::sync::Arc;

use crate::ledger::generation::GENERATIONS_MAX;
use crate::ledger::policy_version::POLICY_VERSIONS_MAX;
use crate::ledger::{GenerationRow, Ledger, PolicyVersion};

fn version(name: &str, digest: &str, at: i64) -> PolicyVersion {
    PolicyVersion {
        name: name.to_owned(),
        digest: digest.to_owned(),
        world: "shard-picker".to_owned(),
        contract: "0.1.0".to_owned(),
        bytes: 3,
        signature: None,
        source: "admin".to_owned(),
        registered_by: Some("anna".to_owned()),
        registered_at_ms: at,
    }
}

async fn register(ledger: &dyn Ledger, version: &PolicyVersion, bytes: &[u8]) {
    ledger.register_policy(version, bytes).await.expect("registers");
}

async fn bytes(ledger: &dyn Ledger, digest: &str) -> Option<Vec<u8>> {
    ledger.component(digest).await.expect("reads").map(|stored| stored.bytes)
}

async fn publish(ledger: &dyn Ledger, number: u64, digest: &str) {
    let row = GenerationRow { number, coupon: None, pipeline: format!("[\"{digest}\"]"), published_at_ms: 5 };
    let components: [(String, Arc<[u8]>); 1] = [(digest.to_owned(), Arc::from([1]))];
    assert!(ledger.publish_generation(&row, &components).await.expect("publishes"));
}

pub(crate) async fn the_version_that_was_registered_last_is_the_newest_of_its_name(ledger: &dyn Ledger) {
    let (one, two, other) = (version("a", "d1", 1), version("a", "d2", 2), version("b", "d1", 3));
    for registered in [&one, &two, &other] {
        register(ledger, registered, &[1, 2, 3]).await;
    }
    assert_eq!(ledger.policy_versions().await.expect("reads"), [other.clone(), two.clone(), one]);
    let again = PolicyVersion { source: "folder".to_owned(), registered_by: None, ..version("a", "d1", 4) };
    register(ledger, &again, &[1, 2, 3]).await;
    assert_eq!(ledger.policy_versions().await.expect("reads"), [again, other, two]);
    assert_eq!(bytes(ledger, "d1").await, Some(vec![1, 2, 3]));
}

pub(crate) async fn simultaneous_registrations_of_one_name_have_one_order(ledger: &dyn Ledger) {
    let versions = ["d1", "d2", "d3"].map(|digest| version("a", digest, 1));
    for round in 0..5 {
        let [one, two, three] = versions.each_ref().map(|version| ledger.register_policy(version, &[1]));
        let (one, two, three) = tokio::join!(one, two, three);
        one.and(two).and(three).expect("all register");
        let listed = ledger.policy_versions().await.expect("reads");
        assert_eq!(listed.len(), 3, "round {round}");
        assert!(versions.iter().all(|version| listed.contains(version)), "round {round}");
    }
}

pub(crate) async fn a_registration_repairs_a_component(ledger: &dyn Ledger) {
    register(ledger, &version("a", "d1", 1), &[9]).await;
    register(ledger, &version("a", "d1", 1), &[1, 2, 3]).await;
    assert_eq!(bytes(ledger, "d1").await, Some(vec![1, 2, 3]));
}

pub(crate) async fn a_signature_of_a_component_stays_until_another_one_is_stored(ledger: &dyn Ledger) {
    for (signature, stored) in
        [(None, None), (Some("one"), Some("one")), (None, Some("one")), (Some("two"), Some("two"))]
    {
        let signature = signature.map(str::to_owned);
        register(ledger, &PolicyVersion { signature, ..version("a", "d1", 1) }, &[1]).await;
        let component = ledger.component("d1").await.expect("reads").expect("is stored");
        assert_eq!(component.signature.as_deref(), stored);
        let listed = ledger.policy_versions().await.expect("reads");
        assert_eq!((listed.len(), listed[0].signature.as_deref()), (1, stored));
    }
}

pub(crate) async fn a_component_is_kept_while_a_version_or_a_generation_names_it(ledger: &dyn Ledger) {
    let has = async |digest: &str| {
        let listed = ledger.policy_versions().await.expect("reads");
        let is_listed = listed.iter().any(|version| version.digest == digest);
        let component = ledger.component(digest).await.expect("reads");
        assert_eq!(component.is_some(), is_listed, "{digest}");
        is_listed
    };
    register(ledger, &version("a", "unused", 1), &[1]).await;
    register(ledger, &version("a", "active", 1), &[1]).await;
    publish(ledger, 1, "active").await;
    for number in 2..POLICY_VERSIONS_MAX {
        register(ledger, &version(&format!("b{number}"), "b", 1), &[1]).await;
    }
    assert!(has("unused").await && has("active").await);
    register(ledger, &version("c", "c", 1), &[1]).await;
    register(ledger, &version("d", "d", 1), &[1]).await;
    assert!(!has("unused").await && has("active").await, "a generation names it");
    for number in 2..=u64::from(GENERATIONS_MAX) + 1 {
        publish(ledger, number, "c").await;
    }
    assert!(!has("active").await && has("c").await);
}
