//! Changes that two processes on one ledger make at the same moment.

use serde_json::json;

use super::{Fixture, built, patch, pick_with};
use crate::policy::{Author, Pipelines, Scope};

/// Another process changes the user's limit, and the first one has not noticed it yet.
async fn change_by_another(fixture: &Fixture) {
    let other = fixture.start_again().await.expect("starts");
    let limit = patch(json!({ "user-limit": { "config": { "limit": 7 } } }));
    assert_eq!(other.change(Scope::Default, limit, "ben").await.expect("is made"), 2);
}

/// Generation 3 is active, with the change of the other process, and every change is listed once.
fn assert_made_on_top(pipelines: &Pipelines, author: Author) {
    assert_eq!(pipelines.current().number(), 3);
    assert_eq!(pipelines.current().pipeline().user_limit.config["limit"], 7);
    let history = pipelines.history().into_iter().map(|entry| (entry.author, entry.result.ok()));
    assert!(history.eq([(author, Some(3)), (Author::admin("ben"), Some(2)), (Author::FILE, Some(1))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_on_top_of_one_that_another_process_has_just_made() {
    let fixture = Fixture::start().await;
    change_by_another(&fixture).await;
    let number = fixture.pipelines.change(Scope::Default, pick_with("hash-user"), "anna").await.expect("is made");
    assert_eq!(number, 3);
    assert_made_on_top(&fixture.pipelines, Author::admin("anna"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_another_process_has_just_made_too_is_listed_once() {
    let fixture = Fixture::start().await;
    change_by_another(&fixture).await;
    let same = patch(json!({ "user-limit": { "config": { "limit": 7 } } }));
    assert_eq!(fixture.pipelines.change(Scope::Default, same, "anna").await.expect("changes nothing"), 2);
    assert_eq!(fixture.pipelines.history().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_component_is_activated_on_top_of_what_another_process_has_just_changed() {
    let fixture = Fixture::start().await;
    change_by_another(&fixture).await;
    std::fs::copy(built("hash-user"), fixture.folder.join("random.wasm")).expect("copies a policy");
    fixture.pipelines.apply_file_changes(None).await;
    assert_made_on_top(&fixture.pipelines, Author::FOLDER);
}
