//! Executions: work whose answers a client reads as a stream, and may go on reading on another.
//!
//! Comes in: answers as they are made. Goes out: any number of streams, one after the other, from any answer that the client has not released:
//! connections end, after minutes by design, and the work goes on. Fails: a stream from an answer that is no longer kept.
//!
//! What no stream has sent is kept up to [`UNSENT_BYTES`], after which the work waits; what was sent and not released, up to [`SENT_BYTES`], after
//! which the oldest is forgotten. Work that nobody has read for [`DETACHED_LIMIT`] is given up.

use super::errors::Failure;
use futures::Stream;
use futures::stream::unfold;
use parking_lot::Mutex;
use prost::Message;
use spark_connect_proto::ExecutePlanResponse;
use spark_connect_proto::execute_plan_response::{ResponseType, ResultComplete};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tonic::Status;

/// Bytes of answers that wait for a reader before the work waits too.
const UNSENT_BYTES: usize = 64 << 20;
/// Bytes of answers that are kept after they were sent, for a client whose connection broke; Spark's size.
const SENT_BYTES: usize = 10 << 20;
/// How long a stream lasts before the client is made to come again, so that no proxy's or client's deadline ends it; Spark's time.
const STREAM_LIMIT: Duration = Duration::from_secs(120);
/// How long work goes on that nobody reads; Spark's time.
const DETACHED_LIMIT: Duration = Duration::from_secs(300);

/// The ids that every answer bears.
#[derive(Debug, Clone)]
pub struct Ids {
    /// The client's name of its session.
    pub session: String,
    /// Ours of it.
    pub server_session: String,
    /// The execution.
    pub operation: String,
}

/// One execution.
pub struct Execution {
    ids: Ids,
    tags: Vec<String>,
    reattachable: bool,
    state: Mutex<State>,
    /// An answer, an end, or room for more.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Answers from `first` on.
    kept: VecDeque<(ExecutePlanResponse, usize)>,
    first: u64,
    /// The first answer that no stream has sent.
    unsent: u64,
    unsent_bytes: usize,
    sent_bytes: usize,
    outcome: Option<Result<(), Failure>>,
    /// The stream that may send; an earlier one ends.
    stream: u64,
    /// Since when no stream has been there.
    detached: Option<Instant>,
    work: Option<AbortHandle>,
}

impl State {
    fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn forget_until(&mut self, end: u64) {
        while self.first < end.min(self.unsent) {
            let Some((_, bytes)) = self.kept.pop_front() else { break };
            self.sent_bytes -= bytes;
            self.first += 1;
        }
    }
}

/// What a stream finds when it looks.
enum Found {
    Answer(Box<ExecutePlanResponse>),
    End,
    Failed(Failure),
    Nothing,
}

impl Execution {
    /// An execution without answers.
    pub fn new(ids: Ids, tags: Vec<String>, reattachable: bool) -> Arc<Self> {
        let state = State { detached: Some(Instant::now()), ..State::default() };
        Arc::new(Self { ids, tags, reattachable, state: Mutex::new(state), changed: Notify::new() })
    }

    /// The client's name of the execution.
    pub fn id(&self) -> &str {
        &self.ids.operation
    }

    /// Whether the client has marked it with `tag`.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|t| t == tag)
    }

    /// Runs `work`, which ends the execution.
    pub fn start(self: &Arc<Self>, work: impl Future<Output = Result<(), Failure>> + Send + 'static) {
        let execution = self.clone();
        let task = tokio::spawn(async move {
            let outcome = work.await;
            if outcome.is_ok() {
                execution.push(ResponseType::ResultComplete(ResultComplete {})).await;
            }
            execution.end(outcome);
        });
        let mut state = self.state.lock();
        match state.outcome {
            // Interrupted before it began.
            Some(_) => task.abort(),
            None => state.work = Some(task.abort_handle()),
        }
    }

    /// Adds an answer, when there is room for it.
    pub async fn push(&self, answer: ResponseType) {
        self.send(ExecutePlanResponse { response_type: Some(answer), ..Default::default() }).await;
    }

    /// [`Execution::push`] of an answer with more than its kind.
    pub async fn send(&self, answer: ExecutePlanResponse) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state.lock().unsent_bytes < UNSENT_BYTES {
                break;
            }
            changed.await;
        }
        self.add(answer);
    }

    /// Adds an answer if there is room for it; tells whether there was.
    pub fn offer(&self, answer: ResponseType) -> bool {
        let room = self.state.lock().unsent_bytes < UNSENT_BYTES;
        if room {
            self.add(ExecutePlanResponse { response_type: Some(answer), ..Default::default() });
        }
        room
    }

    /// Takes back the answers that no stream has sent.
    pub fn withdraw(&self) {
        let mut state = self.state.lock();
        let sent = state.unsent.saturating_sub(state.first);
        state.kept.truncate(usize::try_from(sent).unwrap_or(usize::MAX));
        state.unsent_bytes = 0;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until every answer was sent; at once where no stream is there to send it.
    pub async fn sent(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state.lock();
                if state.unsent >= state.next() || state.detached.is_some() {
                    return;
                }
            }
            changed.await;
        }
    }

    fn add(&self, mut answer: ExecutePlanResponse) {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return;
        }
        answer.session_id.clone_from(&self.ids.session);
        answer.server_side_session_id.clone_from(&self.ids.server_session);
        answer.operation_id.clone_from(&self.ids.operation);
        // The answer's place is in its name, so that it is known after the answer is forgotten.
        answer.response_id = format!("{}_{}", self.ids.operation, state.next());
        let bytes = answer.encoded_len();
        state.unsent_bytes += bytes;
        state.kept.push_back((answer, bytes));
        drop(state);
        self.changed.notify_waiters();
    }

    fn end(&self, outcome: Result<(), Failure>) {
        self.state.lock().outcome.get_or_insert(outcome);
        self.changed.notify_waiters();
    }

    /// Ends the work with OPERATION_CANCELED; tells whether there was any.
    pub fn interrupt(&self) -> bool {
        let mut state = self.state.lock();
        let running = state.outcome.is_none();
        if running {
            state.outcome = Some(Err(Failure::cancelled(self.id())));
            if let Some(work) = state.work.take() {
                work.abort();
            }
        }
        drop(state);
        self.changed.notify_waiters();
        running
    }

    /// Whether the work goes on.
    pub fn is_running(&self) -> bool {
        self.state.lock().outcome.is_none()
    }

    /// How the work ended, if it has.
    pub fn outcome(&self) -> Option<Result<(), Failure>> {
        self.state.lock().outcome.clone()
    }

    /// Whether nobody has read for so long that nobody will.
    pub fn is_abandoned(&self) -> bool {
        self.state.lock().detached.is_some_and(|since| since.elapsed() > DETACHED_LIMIT)
    }

    /// Forgets the answers up to the one named `last`, which is known to have come.
    pub fn release_until(&self, last: &str) {
        if let Some(index) = self.index(last) {
            self.state.lock().forget_until(index + 1);
        }
    }

    fn index(&self, answer: &str) -> Option<u64> {
        answer.strip_prefix(&self.ids.operation)?.strip_prefix('_')?.parse().ok()
    }

    /// The answers after the one named `last`, or from the first. An earlier stream of this execution ends.
    ///
    /// # Errors
    /// `INVALID_CURSOR` where they are forgotten, or were never there.
    pub fn stream(
        self: &Arc<Self>,
        last: Option<&str>,
        failed: impl Fn(Failure) -> Status + Send + 'static,
    ) -> Result<impl Stream<Item = Result<ExecutePlanResponse, Status>> + Send + 'static, Failure> {
        let from = match last {
            None => Some(0),
            Some(last) => self.index(last).map(|index| index + 1),
        };
        let mut state = self.state.lock();
        let Some(from) = from.filter(|from| *from >= state.first && *from <= state.next()) else {
            return Err(Failure::handle(
                "OPERATION_ABANDONED",
                self.id(),
                "Operation was considered abandoned because of inactivity and removed: the answers that were asked for are no longer kept.",
            ));
        };
        state.stream += 1;
        state.detached = None;
        let reader =
            Reader { execution: self.clone(), number: state.stream, at: from, until: Instant::now() + STREAM_LIMIT };
        drop(state);
        // The stream that was there ends now.
        self.changed.notify_waiters();
        Ok(unfold(Some((reader, failed)), |reading| async {
            let (mut reader, failed) = reading?;
            match reader.next().await {
                Found::Answer(answer) => Some((Ok(*answer), Some((reader, failed)))),
                Found::Failed(failure) => Some((Err(failed(failure)), None)),
                Found::End | Found::Nothing => None,
            }
        }))
    }
}

/// The reading side of a stream.
struct Reader {
    execution: Arc<Execution>,
    number: u64,
    at: u64,
    until: Instant,
}

impl Reader {
    async fn next(&mut self) -> Found {
        let execution = self.execution.clone();
        loop {
            let changed = execution.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change between look and wait is not missed.
            changed.as_mut().enable();
            match self.look() {
                Found::Nothing => {}
                found => return found,
            }
            let limit = if execution.reattachable { self.until } else { Instant::now() + STREAM_LIMIT };
            if tokio::time::timeout_at(limit.into(), changed).await.is_err() && execution.reattachable {
                // The client comes again for the rest.
                return Found::End;
            }
        }
    }

    fn look(&mut self) -> Found {
        let mut state = self.execution.state.lock();
        if state.stream != self.number {
            return Found::Failed(Failure::handle(
                "OPERATION_ALREADY_EXISTS",
                self.execution.id(),
                "The stream was disconnected because another one reads the same operation.",
            ));
        }
        let place = self.at.checked_sub(state.first).and_then(|place| usize::try_from(place).ok());
        if let Some((answer, bytes)) = place.and_then(|place| state.kept.get(place)) {
            let (answer, bytes) = (answer.clone(), *bytes);
            self.at += 1;
            if state.unsent < self.at {
                state.unsent = self.at;
                state.unsent_bytes -= bytes;
                state.sent_bytes += bytes;
                while state.sent_bytes > SENT_BYTES || (!self.execution.reattachable && state.sent_bytes > 0) {
                    let oldest = state.first + 1;
                    state.forget_until(oldest);
                }
                drop(state);
                self.execution.changed.notify_waiters();
            }
            return Found::Answer(Box::new(answer));
        }
        match &state.outcome {
            None => Found::Nothing,
            Some(Ok(())) => Found::End,
            Some(Err(failure)) => Found::Failed(failure.clone()),
        }
    }
}

impl Drop for Reader {
    /// A client that has gone away may come again, for a while.
    fn drop(&mut self) {
        let mut state = self.execution.state.lock();
        if state.stream == self.number {
            state.detached = Some(Instant::now());
            self.execution.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
