use super::*;
use crate::options::Options;
use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use std::io::Write;
use std::net::TcpListener;

fn source(options: &[(&str, &str)]) -> Result<SocketSource> {
    let options = Options::from_iter(options.iter().copied());
    let mut reader = options.reader("the socket source");
    let source = SocketSource::new(&mut reader)?;
    reader.finish()?;
    Ok(source)
}

/// A connected source and the server's end.
async fn connected(more: &[(&str, &str)]) -> (SocketSource, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut source = source(&[&[("host", "127.0.0.1"), ("port", port.as_str())], more].concat()).unwrap();
    source.check().await.unwrap();
    (source, listener.accept().unwrap().0)
}

/// Waits until the newest line has an offset.
async fn await_line(source: &mut SocketSource, start: i64, offset: i64) {
    loop {
        let proposal = source.propose(&start.into(), Admission::Limited).await.unwrap();
        assert!(proposal.end.as_i64().unwrap() <= offset, "{proposal:?}");
        if proposal.end == offset {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn lines(source: &mut SocketSource, start: i64, end: i64, chunk_bytes: usize) -> Vec<Vec<String>> {
    let request = ReadRequest { projection: vec![0], chunk_bytes, stop: Arc::default() };
    let mut chunks = source.read(&start.into(), &end.into(), &request).await.unwrap();
    let mut all = Vec::new();
    while let Some(Chunk::Columns { batch, .. }) = chunks.next().unwrap() {
        all.push(batch.column(0).as_string::<i32>().iter().map(|text| text.unwrap().to_string()).collect());
    }
    all
}

#[tokio::test]
async fn lines_are_rows_and_stay_until_they_are_committed() {
    let (mut source, mut server) = connected(&[]).await;
    assert_eq!(source.schema().fields().len(), 1);
    assert_eq!(source.initial().await.unwrap(), -1);
    server.write_all(b"a\r\nb\rc\n\nlast").unwrap();
    await_line(&mut source, -1, 3).await;
    assert_eq!(lines(&mut source, -1, 3, 1 << 10).await, [["a", "b", "c", ""]]);
    assert_eq!(lines(&mut source, -1, 3, 18).await, [vec!["a", "b"], vec!["c", ""]], "read again, in smaller chunks");
    source.commit(&1.into()).await.unwrap();
    assert_eq!(lines(&mut source, 1, 3, 1 << 10).await, [["c", ""]]);
    // The end of the data ends the last line.
    drop(server);
    await_line(&mut source, 1, 4).await;
    assert_eq!(lines(&mut source, 3, 4, 1 << 10).await, [["last"]]);
    let request = ReadRequest { projection: vec![0], chunk_bytes: 1, stop: Arc::new(AtomicBool::new(true)) };
    let mut stopped = source.read(&3.into(), &4.into(), &request).await.unwrap();
    assert!(stopped.next().unwrap().is_none());
}

#[tokio::test]
async fn a_line_can_carry_the_time_of_its_arrival() {
    let before = chrono::Utc::now().timestamp_millis();
    let (mut source, mut server) = connected(&[("includeTimestamp", "true")]).await;
    source.initial().await.unwrap();
    server.write_all(&[b'x', 0xff, b'\n']).unwrap();
    await_line(&mut source, -1, 0).await;
    let request = ReadRequest { projection: vec![0, 1], chunk_bytes: 1, stop: Arc::default() };
    let mut chunks = source.read(&(-1).into(), &0.into(), &request).await.unwrap();
    let Some(Chunk::Columns { batch, .. }) = chunks.next().unwrap() else { panic!("no chunk") };
    assert_eq!(batch.schema(), source.schema());
    assert_eq!(batch.column(0).as_string::<i32>().value(0), "x\u{fffd}");
    let millis = batch.column(1).as_primitive::<TimestampMicrosecondType>().value(0) / 1_000;
    assert!((before..=chrono::Utc::now().timestamp_millis()).contains(&millis));
}

#[tokio::test]
async fn a_restart_goes_on_with_new_lines_and_cannot_repeat_old_ones() {
    // After a clean end: batches up to line 9 are committed.
    let (mut source, mut server) = connected(&[]).await;
    source.commit(&9.into()).await.unwrap();
    server.write_all(b"ten\neleven\n").unwrap();
    await_line(&mut source, 9, 11).await;
    assert_eq!(lines(&mut source, 9, 11, 1 << 10).await, [["ten", "eleven"]]);
    source.freeze().await.unwrap();
    server.write_all(b"twelve\n").unwrap();
    drop(server);
    assert_eq!(source.propose(&11.into(), Admission::Limited).await.unwrap().end, 11, "not after availableNow began");

    // After a crash: the batch up to line 12 was logged, and its lines are gone.
    for committed in [None, Some(9)] {
        let (mut source, mut server) = connected(&[]).await;
        if let Some(committed) = committed {
            source.commit(&committed.into()).await.unwrap();
        }
        server.write_all(b"1\n2\n3\n4\n5\n").unwrap();
        let start = committed.unwrap_or(-1);
        let request = ReadRequest { projection: vec![0], chunk_bytes: 1, stop: Arc::default() };
        let error = source.read(&start.into(), &12.into(), &request).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
        assert!(
            error.message().contains(&format!("lines {} to 12 of TextSocketV2[host: 127.0.0.1,", start + 1)),
            "{error}"
        );
        assert!(error.message().contains("cannot be read again"), "{error}");
    }
}

#[tokio::test]
async fn refusals() {
    let host = ("host", "127.0.0.1");
    use ErrorCode::{InvalidOption, MissingOption};
    for (options, code, part) in [
        (vec![("port", "1")], MissingOption, "option 'host' of the socket source is required"),
        (vec![host], MissingOption, "option 'port' of the socket source is required"),
        (vec![host, ("port", "70000")], InvalidOption, "option 'port'"),
        (vec![host, ("port", "1"), ("includeTimestamp", "yes")], InvalidOption, "'includeTimestamp'"),
        (vec![host, ("port", "1"), ("path", "x")], InvalidOption, "'path'"),
    ] {
        let error = source(&options).err().unwrap();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
    // Port 1 answers no one.
    let mut nowhere = source(&[host, ("port", "1")]).unwrap();
    let error = nowhere.check().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io);
    assert!(error.message().contains("cannot connect to 127.0.0.1:1:"), "{error}");
    assert_eq!(parse_offset(&Offset::from("x")).unwrap_err().code(), ErrorCode::CheckpointCorrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_reads_lines_by_format_name() {
    use crate::prelude::*;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let session = Session::builder().config("tidemill.device", "cpu").build().await.unwrap();
    let table = MemoryTable::new(Some("lines")).unwrap();
    let lines = session
        .read_stream()
        .format("socket")
        .option("host", "127.0.0.1")
        .option("port", i32::from(listener.local_addr().unwrap().port()))
        .load()
        .await
        .unwrap();
    let query = lines.write_stream().table(&table).start().await.unwrap();
    let mut server = listener.accept().unwrap().0;
    server.write_all(b"one\ntwo\n").unwrap();
    while table.concat().unwrap().num_rows() < 2 {
        query.process_all_available().await.unwrap();
    }
    query.stop().await;
    let rows = table.concat().unwrap();
    assert_eq!(rows.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("one"), Some("two")]);
    let error =
        crate::source::builtin::table_provider("socket", None, &Options::new(), session.conf()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
}
