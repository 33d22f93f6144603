use super::*;
use std::sync::mpsc;

struct Recorder {
    heard: Mutex<mpsc::Sender<String>>,
    /// Held while the listener is to be slow.
    gate: Mutex<()>,
    panics: bool,
}

impl Recorder {
    fn new(panics: bool) -> (Arc<Self>, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel();
        (Arc::new(Self { heard: Mutex::new(sender), gate: Mutex::new(()), panics }), receiver)
    }

    fn hear(&self, json: String) {
        let _open = self.gate.lock();
        self.heard.lock().send(json).unwrap();
        assert!(!self.panics, "heard enough");
    }
}

impl StreamingQueryListener for Recorder {
    fn on_query_started(&self, event: &QueryStartedEvent) {
        self.hear(event.json());
    }
    fn on_query_idle(&self, event: &QueryIdleEvent) {
        self.hear(event.json());
    }
    fn on_query_terminated(&self, event: &QueryTerminatedEvent) {
        self.hear(event.json());
    }
}

fn idle(n: usize) -> Event {
    Event::Idle(QueryIdleEvent { id: Uuid::nil(), run_id: Uuid::nil(), timestamp: n.to_string() })
}

fn idle_json(n: usize) -> String {
    format!(r#"{{"id":"{0}","runId":"{0}","timestamp":"{n}"}}"#, Uuid::nil())
}

fn terminated(exception: Option<&str>) -> QueryTerminatedEvent {
    QueryTerminatedEvent {
        id: Uuid::nil(),
        run_id: Uuid::nil(),
        exception: exception.map(str::to_string),
        error_class_on_exception: exception.map(|_| "DIVIDE_BY_ZERO".to_string()),
    }
}

#[tokio::test]
async fn events_have_sparks_json_and_come_in_order() {
    let bus = ListenerBus::default();
    let (recorder, heard) = Recorder::new(false);
    bus.add(recorder);
    let (id, run_id) = (Uuid::nil(), Uuid::max());
    let timestamp = "2026-01-01T00:00:00.000Z".to_string();
    bus.started(QueryStartedEvent { id, run_id, name: None, timestamp, job_tags: vec![] }).await;
    // Before anything else, and before `started` returns.
    assert_eq!(
        heard.try_recv().unwrap(),
        r#"{"id":"00000000-0000-0000-0000-000000000000","runId":"ffffffff-ffff-ffff-ffff-ffffffffffff","name":null,"timestamp":"2026-01-01T00:00:00.000Z","jobTags":[]}"#
    );
    bus.post(&idle(1));
    bus.post(&idle(2));
    bus.terminated(terminated(Some("no")));
    assert_eq!([heard.recv().unwrap(), heard.recv().unwrap()], [idle_json(1), idle_json(2)]);
    assert_eq!(
        heard.recv().unwrap(),
        format!(
            r#"{{"id":"{0}","runId":"{0}","exception":"no","errorClassOnException":"DIVIDE_BY_ZERO"}}"#,
            Uuid::nil()
        )
    );
}

#[tokio::test]
async fn a_listener_that_panics_is_called_again_and_harms_no_other() {
    let bus = ListenerBus::default();
    let ((wild, wild_heard), (calm, calm_heard)) = (Recorder::new(true), Recorder::new(false));
    bus.add(wild);
    bus.add(calm);
    let timestamp = String::new();
    let event = QueryStartedEvent { id: Uuid::nil(), run_id: Uuid::nil(), name: None, timestamp, job_tags: vec![] };
    bus.started(event).await;
    bus.post(&idle(1));
    bus.post(&idle(2));
    for heard in [wild_heard, calm_heard] {
        heard.recv().unwrap();
        assert_eq!([heard.recv().unwrap(), heard.recv().unwrap()], [idle_json(1), idle_json(2)]);
    }
}

#[test]
fn a_slow_listener_misses_progress_but_no_end() {
    let bus = ListenerBus::default();
    let (recorder, heard) = Recorder::new(false);
    let closed = recorder.gate.lock();
    bus.add(recorder.clone());
    // At most one event is with the listener, so that at least one of these finds the queue full.
    for n in 0..QUEUE_CAPACITY + 2 {
        bus.post(&idle(n));
    }
    let dropped = bus.dropped();
    assert!((1..=2).contains(&dropped), "{dropped}");
    bus.terminated(terminated(None));
    drop(closed);
    for n in 0..QUEUE_CAPACITY + 2 - dropped as usize {
        assert_eq!(heard.recv().unwrap(), idle_json(n));
    }
    let end = format!(r#"{{"id":"{0}","runId":"{0}","exception":null,"errorClassOnException":null}}"#, Uuid::nil());
    assert_eq!(heard.recv().unwrap(), end);
}

#[test]
fn a_removed_listener_hears_no_more() {
    let bus = ListenerBus::default();
    let ((first, first_heard), (second, second_heard)) = (Recorder::new(false), Recorder::new(false));
    let first: Arc<dyn StreamingQueryListener> = first;
    bus.add(first.clone());
    bus.add(second);
    assert_eq!(bus.list().len(), 2);
    bus.remove(&first);
    assert_eq!(bus.list().len(), 1);
    drop(first);
    bus.post(&idle(1));
    assert_eq!(second_heard.recv().unwrap(), idle_json(1));
    // The listener is gone with the last handle to it, and so is its channel.
    assert!(first_heard.recv().is_err());
}
