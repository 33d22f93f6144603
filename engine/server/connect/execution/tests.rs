//! Streams that break, come again, and are let go.

use super::*;
use futures::StreamExt;
use spark_connect_proto::execute_plan_response::ArrowBatch;

fn execution(reattachable: bool) -> Arc<Execution> {
    let ids = Ids { session: "s".into(), server_session: "t".into(), operation: "op".into() };
    Execution::new(ids, vec!["tag".into()], reattachable)
}

fn batch(rows: i64, bytes: usize) -> ResponseType {
    ResponseType::ArrowBatch(ArrowBatch { row_count: rows, data: vec![0; bytes].into(), ..Default::default() })
}

fn status(failure: Failure) -> Status {
    failure.status(None)
}

/// Row counts of the batches of a stream, -1 for the end; then the failure's class.
async fn read(stream: impl Stream<Item = Result<ExecutePlanResponse, Status>>) -> (Vec<(String, i64)>, Option<String>) {
    let mut stream = std::pin::pin!(stream);
    let mut seen = Vec::new();
    while let Some(answer) = stream.next().await {
        match answer {
            Ok(answer) => {
                let rows = match answer.response_type {
                    Some(ResponseType::ArrowBatch(batch)) => batch.row_count,
                    _ => -1,
                };
                seen.push((answer.response_id, rows));
            }
            Err(status) => return (seen, Some(status.message().to_string())),
        }
    }
    (seen, None)
}

fn seen(answers: &[(u64, i64)]) -> Vec<(String, i64)> {
    answers.iter().map(|(id, rows)| (format!("op_{id}"), *rows)).collect()
}

#[tokio::test]
async fn a_broken_stream_is_read_on_from_any_answer_that_was_not_released() {
    let execution = execution(true);
    let work = execution.clone();
    execution.start(async move {
        for rows in 1..=3 {
            work.push(batch(rows, 10)).await;
        }
        Ok(())
    });
    let first = execution.stream(None, status).unwrap();
    let (one, _) = read(first.take(2)).await;
    assert_eq!(one, seen(&[(0, 1), (1, 2)]));
    // The second answer was lost on the way.
    assert_eq!(read(execution.stream(Some("op_0"), status).unwrap()).await, (seen(&[(1, 2), (2, 3), (3, -1)]), None));
    execution.release_until("op_1");
    assert_eq!(read(execution.stream(Some("op_1"), status).unwrap()).await, (seen(&[(2, 3), (3, -1)]), None));
    let gone = execution.stream(Some("op_0"), status).err().unwrap();
    assert_eq!(gone.class(), "INVALID_HANDLE.OPERATION_ABANDONED");
    assert_eq!(execution.stream(Some("op_9"), status).err().unwrap().class(), gone.class());
}

#[tokio::test]
async fn a_second_stream_ends_the_first_and_an_interruption_ends_both() {
    let execution = execution(true);
    execution.start(std::future::pending());
    let first = tokio::spawn(read(execution.stream(None, status).unwrap()));
    while execution.state.lock().stream != 1 {
        tokio::task::yield_now().await;
    }
    let second = execution.stream(None, status).unwrap();
    let (nothing, failure) = first.await.unwrap();
    assert!(nothing.is_empty() && failure.as_deref().is_some_and(|f| f.contains("another one reads")), "{failure:?}");
    assert!(execution.interrupt());
    assert!(!execution.interrupt());
    let (_, failure) = read(second).await;
    assert_eq!(failure.as_deref(), Some("[OPERATION_CANCELED] Operation op has been canceled. SQLSTATE: HY008"));
    assert!(execution.has_tag("tag") && !execution.is_running());
}

#[tokio::test]
async fn work_waits_for_a_reader_and_what_was_sent_is_kept_within_bounds() {
    let execution = execution(true);
    let work = execution.clone();
    // Three times what may wait.
    execution.start(async move {
        for rows in 0..192 {
            work.push(batch(rows, 1 << 20)).await;
        }
        Ok(())
    });
    let filled = async {
        while execution.state.lock().unsent_bytes < UNSENT_BYTES {
            tokio::task::yield_now().await;
        }
    };
    filled.await;
    assert_eq!(execution.state.lock().kept.len(), 64);
    let (answers, failure) = read(execution.stream(None, status).unwrap()).await;
    assert_eq!((answers.len(), failure), (193, None));
    let state = execution.state.lock();
    assert!(state.sent_bytes <= SENT_BYTES && state.kept.len() == 10, "{} {}", state.sent_bytes, state.kept.len());
}

#[tokio::test]
async fn without_reattachment_nothing_is_kept_after_it_was_sent() {
    let execution = execution(false);
    let work = execution.clone();
    execution.start(async move {
        work.push(batch(1, 10)).await;
        Err(Failure::handle("FORMAT", "x", "no"))
    });
    let (answers, failure) = read(execution.stream(None, status).unwrap()).await;
    assert_eq!((answers, execution.state.lock().kept.len()), (seen(&[(0, 1)]), 0));
    assert!(failure.unwrap().starts_with("[INVALID_HANDLE.FORMAT]"));
}
