use super::*;

const CAMPAIGN: Measure = count(Scope::UserOfCoupon, 0);
const HOUR_MS: NonZeroU32 = NonZeroU32::new(3_600_000).expect("not 0");
const TWO: NonZeroU32 = NonZeroU32::new(2).expect("not 0");

async fn claim(counters: &dyn Counters, subject: Subject) -> Reserved {
    reserve_all(counters, HOOK, &[], subject).await
}

pub(crate) async fn a_key_belongs_to_the_first_request_that_claims_it(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let claimed = claim(&*counters, first).await;
    assert_eq!((claimed.added, claimed.is_key_taken), (KEY_ADDED, false));
    let retried = claim(&*counters, first.another_attempt()).await;
    assert_eq!((retried.added, retried.is_key_taken), (KEY_ADDED, false), "a retry holds the key too");
    assert!(claim(&*counters, first.another_request()).await.is_key_taken);
    let without_key = first.another_request().without_key();
    assert_eq!(claim(&*counters, without_key).await, Reserved::default());
}

pub(crate) async fn of_requests_that_claim_a_key_at_once_one_gets_it(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let claims = (0..64).map(|_| {
        let (counters, subject) = (Arc::clone(&counters), first.another_request());
        tokio::spawn(async move { claim(&*counters, subject).await })
    });
    let claims = join_all(claims).await.into_iter().map(|claimed| claimed.expect("the task did not panic"));
    assert_eq!(claims.filter(|claimed| !claimed.is_key_taken).count(), 1);
}

pub(crate) async fn a_key_is_taken_for_every_other_user(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let other_user = Subject { user_id: new_subject().user_id, ..first.another_request() };
    let other_key = Subject { fingerprint: new_keyed_subject().fingerprint, ..first.another_request() };
    assert_eq!(claim(&*counters, first).await.added, KEY_ADDED);
    assert!(claim(&*counters, other_user).await.is_key_taken);
    assert_eq!(claim(&*counters, other_key).await.added, KEY_ADDED);
}

pub(crate) async fn a_conflict_measures_nothing(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let one_token_left = Measure::Bucket { scope: Scope::User, requests: NonZeroU32::MIN, per_ms: HOUR_MS, burst: TWO };
    let measures = [CAMPAIGN, count(Scope::User, 0), count(Scope::Coupon, 0), one_token_left];
    reserve_all(&*counters, HOOK, &measures, first).await;
    let conflict = reserve_all(&*counters, HOOK, &measures, first.another_request()).await;
    assert_eq!(conflict, Reserved { is_key_taken: true, ..Reserved::default() });
    let without_key = first.another_request().without_key();
    let next = reserve_all(&*counters, HOOK, &measures, without_key).await;
    assert_eq!(next.measured[..3], [Measured::Count(2); 3]);
    assert_eq!(next.measured[3], Measured::Conforming);
}

pub(crate) async fn a_released_key_is_free_and_only_its_holder_releases_it(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let second = first.another_request();
    let claimed = claim(&*counters, first).await;
    release_all(&*counters, &[], second, KEY_ADDED).await;
    assert!(claim(&*counters, second).await.is_key_taken);
    release_all(&*counters, &[], first, claimed.added).await;
    assert_eq!(claim(&*counters, second).await.added, KEY_ADDED);
}

pub(crate) async fn a_key_is_free_once_all_attempts_of_its_request_have_failed(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let attempts = (0..12).map(|attempt| Subject { attempt, ..first });
    for attempt in attempts.clone() {
        claim(&*counters, attempt).await;
    }
    for attempt in attempts {
        assert!(claim(&*counters, first.another_request()).await.is_key_taken);
        release_all(&*counters, &[], attempt, KEY_ADDED).await;
    }
    assert!(!claim(&*counters, first.another_request()).await.is_key_taken);
}

pub(crate) async fn a_failed_first_attempt_leaves_the_key_to_an_accepted_retry(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let failed = reserve_all(&*counters, HOOK, &[CAMPAIGN], first).await;
    let _accepted = reserve_all(&*counters, HOOK, &[CAMPAIGN], first.another_attempt()).await;
    release(&*counters, CAMPAIGN, first, failed.added).await;
    let holder = counters.key_holder(first.fingerprint.expect("has a key")).await;
    assert_eq!(holder.expect("counters available"), Some(first.request_id));
    assert!(claim(&*counters, first.another_request()).await.is_key_taken);
    assert!(!claim(&*counters, first).await.is_key_taken);
}

pub(crate) async fn asking_for_the_holder_of_a_key_claims_nothing(counters: Arc<dyn Counters>) {
    let first = new_keyed_subject();
    let fingerprint = first.fingerprint.expect("has a key");
    let holder = async || counters.key_holder(fingerprint).await.expect("counters available");
    assert_eq!(holder().await, None);
    let claimed = claim(&*counters, first).await;
    assert_eq!(claimed.added, KEY_ADDED, "asking left it free");
    assert!(claim(&*counters, first.another_request()).await.is_key_taken);
    assert_eq!(holder().await, Some(first.request_id));
    release_all(&*counters, &[], first, claimed.added).await;
    assert_eq!(holder().await, None);
}
