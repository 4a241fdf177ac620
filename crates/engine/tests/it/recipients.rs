//! A mail goes out to some of its recipients, and later to the others.

use std::sync::Arc;

use postroom_engine::{Engine, EngineSettings};
use postroom_model::OutboxMessageId;
use postroom_model::event::Subject;
use postroom_model::failure::Decision;
use postroom_model::outbox::{OutboxMessage, OutboxState};
use postroom_store::{Acceptance, OutboxFilter, Page};
use postroom_transport::RefusedRecipient;

use crate::faulty::{Faulty, When};
use crate::house::{House, draft, submitter};
use crate::provider::{Door, Step, refusal};

fn refused(address: &str, words: &str, temporary: bool) -> RefusedRecipient {
    RefusedRecipient { address: address.parse().unwrap(), words: words.into(), temporary }
}

/// Hands in a message to ann, eve and late, all of fabrikam.example.
async fn submit_to_three(engine: &Engine) -> OutboxMessageId {
    let mut draft = draft("orders@contoso.example");
    draft.to = ["ann", "eve", "late"].map(|name| format!("{name}@fabrikam.example")).into();
    match engine.intake().submit_draft(draft, submitter()).await.unwrap() {
        Acceptance::Accepted(message) => message.id,
        other => panic!("{other:?}"),
    }
}

async fn follow_ups(house: &House, id: OutboxMessageId) -> Vec<OutboxMessage> {
    let mut all = house.store.outbox(&OutboxFilter::default(), Page::default()).await.unwrap();
    all.retain(|message| message.follow_up_of == Some(id));
    all
}

#[tokio::test]
async fn a_recipient_that_was_refused_for_good_is_told_and_nobody_gets_the_message_twice() {
    let house = House::new().await;
    let words = "550 5.1.1 No such user";
    house.provider.state().refused.push(refused("eve@fabrikam.example", words, false));
    let running = house.run();
    let id = submit_to_three(&running.engine).await;
    let message = house.becomes(id, OutboxState::Sent).await;
    running.stop().await;
    assert_eq!(
        message.last_words.as_deref(),
        Some("202 Accepted; not taken for eve@fabrikam.example: 550 5.1.1 No such user")
    );
    let events = house.events(Subject::OutboxMessage(id)).await;
    let told = &events.last().unwrap().event;
    assert_eq!(told.kind.as_str(), "outbox.recipient-refused");
    assert_eq!(told.words.as_deref(), Some("eve@fabrikam.example: 550 5.1.1 No such user"));
    assert_eq!(house.provider.called("send"), 1);
    assert!(follow_ups(&house, id).await.is_empty());
}

#[tokio::test]
async fn a_recipient_that_was_refused_for_now_gets_the_message_later_and_nobody_gets_it_twice() {
    let house = House::new().await;
    let late = "late@fabrikam.example";
    house.provider.state().refused.push(refused(late, "450 4.2.0 Greylisted", true));
    let running = house.run();
    let id = submit_to_three(&running.engine).await;
    let parent = house.becomes(id, OutboxState::Sent).await;
    let [follow_up] = <[_; 1]>::try_from(follow_ups(&house, id).await).unwrap();
    assert_eq!((follow_up.state, follow_up.accepted_at), (OutboxState::Deferred, parent.accepted_at));
    assert_eq!(
        (follow_up.envelope.to.as_slice(), follow_up.message_id),
        (&[late.parse().unwrap()][..], parent.message_id)
    );
    let told = house.events(Subject::OutboxMessage(id)).await.pop().unwrap().event;
    assert_eq!(told.kind.as_str(), "outbox.recipient-deferred");
    let words = format!("{late}: 450 4.2.0 Greylisted; tried again as message {}", follow_up.id);
    assert_eq!(told.words, Some(words));

    // Nobody takes it the next time: an attempt that failed like any other.
    let greylisted = refusal(450, "Greylisted", Decision::Retry { after: None });
    house.provider.script([Step::Refuse(greylisted)]);
    house.pass(&running, 12);
    house.asked("send", 2).await;
    house.becomes(follow_up.id, OutboxState::Deferred).await;
    house.provider.state().refused.clear();
    house.pass(&running, 40);
    house.becomes(follow_up.id, OutboxState::Sent).await;
    running.stop().await;
    let delivered = house.provider.state().delivered.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(delivered, ["ann", "eve", "late"].map(|name| format!("{name}@fabrikam.example")));
    let timeline = house.outbox_timeline(follow_up.id).await;
    assert_eq!(timeline.first(), Some(&"outbox.follow-up"), "{timeline:?}");
    let made = house.events(Subject::OutboxMessage(follow_up.id)).await.remove(0).event;
    assert!(made.words.unwrap().contains(&id.to_string()), "it names the first message");
}

#[tokio::test]
async fn a_follow_up_that_is_refused_to_the_end_of_the_first_window_fails() {
    let house = House::new().await;
    house.provider.state().refused.push(refused("late@fabrikam.example", "450 4.2.0 Greylisted", true));
    let running = house.run();
    let id = submit_to_three(&running.engine).await;
    house.becomes(id, OutboxState::Sent).await;
    let [follow_up] = <[_; 1]>::try_from(follow_ups(&house, id).await).unwrap();
    let greylisted = refusal(450, "Greylisted", Decision::Retry { after: None });
    house.provider.script([Step::Refuse(greylisted)]);
    house.pass(&running, 120 * 3_600);
    let ended = house.becomes(follow_up.id, OutboxState::Failed).await;
    running.stop().await;
    assert!(ended.last_words.unwrap().starts_with("not sent within 120 hours: 450"));
}

#[tokio::test]
async fn a_commit_that_fails_before_or_after_it_was_done_neither_loses_nor_doubles_the_follow_up() {
    for when in [When::Before, When::After] {
        let house = House::new().await;
        house.provider.state().refused.push(refused("late@fabrikam.example", "450 4.2.0 Greylisted", true));
        let store = Arc::new(Faulty::new(house.store.clone(), "finish_attempt", when, 1));
        let settings = EngineSettings { idle_poll_ms: 20, ..EngineSettings::default() };
        let door = Arc::new(Door(house.provider.clone(), house.env.clone()));
        let running = house.run_engine(Engine::new(store.clone(), door, house.env.clone(), settings));
        let id = submit_to_three(&running.engine).await;
        house.becomes(id, OutboxState::Sent).await;
        house.provider.state().refused.clear();
        let [follow_up] = <[_; 1]>::try_from(follow_ups(&house, id).await).unwrap();
        house.pass(&running, 12);
        house.becomes(follow_up.id, OutboxState::Sent).await;
        running.stop().await;
        assert!(store.was_called("finish_attempt"));
        assert_eq!(follow_ups(&house, id).await.len(), 1, "{when:?}");
        assert_eq!(house.provider.state().delivered.len(), 3, "{when:?}");
    }
}
