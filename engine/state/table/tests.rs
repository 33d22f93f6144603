//! State files of kernels' and hosts' calls: snapshots, deltas, calls that came later, and state of somebody else.

use super::*;
use crate::operator::partial::PartialColumn;
use crate::plan::aggregate::HostCall;
use crate::plan::spark_aggregate;
use crate::plan::spark_function::Environment;
use crate::state::file;
use arrow::array::StringArray;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{col, lit};
use tidemill_kernels::device::Ran;

fn host(name: &str, args: Vec<Expr>) -> Arc<HostCall> {
    let input = Schema::new(vec![Field::new("s", DataType::Utf8, true), Field::new("i", DataType::Int32, true)]);
    let call = spark_aggregate::call(name, args, false).unwrap().unwrap();
    match crate::plan::resolve::resolve(
        call,
        &crate::plan::scope::Scope::of(&Arc::new(input.clone())),
        &Environment::default(),
    )
    .unwrap()
    {
        Expr::AggregateFunction(call) => Arc::new(HostCall::new(&call, &input).unwrap()),
        other => panic!("{other}"),
    }
}

fn texts() -> Arc<HostCall> {
    host("collect_list", vec![col("s")])
}

/// Groups a and NULL of a chunk: a count, and the texts of each.
fn partials(call: &HostCall, of_a: &[&str]) -> Partials {
    let mut full = call.accumulator().unwrap();
    full.update_batch(&[Arc::new(StringArray::from(of_a.to_vec()))]).unwrap();
    let states = [full.state().unwrap(), call.accumulator().unwrap().state().unwrap()];
    let columns = (0..call.state().len())
        .map(|c| datafusion::common::ScalarValue::iter_to_array(states.iter().map(|s| s[c].clone())).unwrap());
    Partials {
        keys: vec![Arc::new(StringArray::from(vec![Some("a"), None]))],
        pane_start: vec![],
        windowed: false,
        rows: vec![of_a.len() as u64, 1],
        aggregates: vec![PartialColumn::Count(vec![of_a.len() as u64, 1]), PartialColumn::Host(columns.collect())],
        observed: None,
        ran: Ran { gpu: false, device: "cpu".into(), reason: "a test".into() },
    }
}

fn table(calls: Vec<(Call, &str)>) -> Table {
    let texts = calls.iter().map(|(_, text)| text.to_string()).collect();
    Table::new(vec![DataType::Utf8], calls.into_iter().map(|(call, _)| call).collect(), texts).unwrap()
}

fn counted() -> Table {
    table(vec![(Call::Count, "count(*)"), (Call::Host(texts()), "collect_list(s)")])
}

fn batch(table: &mut Table, of_a: &[&str]) -> (bytes::Bytes, bytes::Bytes) {
    table.begin();
    let partials = partials(&texts(), of_a);
    let keys = table.encode_keys(&partials.keys, 2).unwrap();
    for group in 0..2 {
        table.merge(NO_WINDOW, &keys, &partials, group).unwrap();
    }
    table.settle().unwrap();
    (file::write(table, &table.touched(), &[]).unwrap(), file::write(table, &table.all(), &[]).unwrap())
}

fn shown(table: &Table, call: usize) -> Vec<String> {
    let results = table.results(call, &table.all()).unwrap();
    let options = arrow::util::display::FormatOptions::default().with_null("NULL");
    let texts = arrow::util::display::ArrayFormatter::try_new(results.as_ref(), &options).unwrap();
    (0..results.len()).map(|row| texts.value(row).to_string()).collect()
}

#[test]
fn deltas_and_snapshots_restore_what_was_merged() {
    let mut running = counted();
    let (first, _) = batch(&mut running, &["x"]);
    let (second, snapshot) = batch(&mut running, &["y", "z"]);
    // NULL is first among the keys.
    let expected = [["2", "3"], ["[]", "[x, y, z]"]];
    for files in [vec![first, second], vec![snapshot]] {
        let mut restored = counted();
        files.iter().for_each(|bytes| file::apply(&mut restored, bytes).unwrap());
        for (call, expected) in expected.into_iter().enumerate() {
            assert_eq!(shown(&restored, call), expected);
            assert_eq!(shown(&running, call), expected);
        }
        // It goes on from there, and says the same of itself.
        let (_, again) = batch(&mut restored, &["w"]);
        let mut continued = counted();
        file::apply(&mut continued, &again).unwrap();
        assert_eq!(shown(&continued, 1), ["[]", "[x, y, z, w]"]);
        assert!(continued.memory() > 0);
    }
}

#[test]
fn a_call_that_came_later_begins_without_values() {
    let mut earlier = counted();
    let (_, snapshot) = batch(&mut earlier, &["x"]);
    let first = host("first", vec![col("i"), lit(true)]);
    let mut later = table(vec![
        (Call::Host(first), "first(i)"),
        (Call::Host(texts()), "collect_list(s)"),
        (Call::Extreme { greatest: true, data_type: DataType::Int32 }, "max(i)"),
        (Call::Count, "count(*)"),
    ]);
    file::apply(&mut later, &snapshot).unwrap();
    let found: Vec<Vec<String>> = (0..4).map(|call| shown(&later, call)).collect();
    assert_eq!(found, [["NULL", "NULL"], ["[]", "[x]"], ["NULL", "NULL"], ["1", "1"]]);
}

#[test]
fn state_of_another_function_or_key_is_refused() {
    let mut earlier = counted();
    let (_, snapshot) = batch(&mut earlier, &["x"]);
    let renamed =
        || table(vec![(Call::Count, "count(*)"), (Call::Host(host("collect_set", vec![col("s")])), "collect_list(s)")]);
    let error = file::apply(&mut renamed(), &snapshot).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointIncompatible);
    assert!(error.to_string().contains("collect_list/1") && error.to_string().contains("collect_set/1"), "{error}");
    let keyed = Table::new(vec![DataType::Int32], vec![Call::Count], vec!["count(*)".into()]);
    let error = file::apply(&mut keyed.unwrap(), &snapshot).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CheckpointCorrupt);
}
