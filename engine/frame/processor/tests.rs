//! States of one key: what they give back, when they expire, and what they refuse.

use super::*;
use crate::types::StructType;
use arrow::datatypes::SchemaRef;

/// Runs `with` on a key's state at a wall clock.
fn at<T>(state: &mut KeyState, now_ms: i64, mode: TimeMode, with: impl FnOnce(&mut StateHandle<'_>) -> T) -> T {
    let schema: SchemaRef = StructType::from_ddl("k STRING, n BIGINT").unwrap().to_arrow_schema();
    let times = TimerValues { processing_time_ms: now_ms, watermark_ms: 0 };
    state.expire(now_ms);
    with(&mut StateHandle { state, times, mode, schema: &schema, emitted: &mut vec![] })
}

#[test]
fn each_kind_gives_back_what_it_was_given() {
    let (value, list) = (ValueState::<(u32, String)>::new("value"), ListState::<f64>::new("list"));
    let map = MapState::<i64, Option<bool>>::new("map");
    let mut state = KeyState::default();
    at(&mut state, 0, TimeMode::None, |h| {
        assert_eq!(value.get(h).unwrap(), None);
        assert!(list.get(h).unwrap().is_empty());
        value.update(h, &(7, "seven".into())).unwrap();
        list.append(h, &0.1).unwrap();
        list.append(h, &-1e300).unwrap();
        map.put(h, &-1, &None).unwrap();
        map.put(h, &2, &Some(true)).unwrap();
    });
    // As it goes to a checkpoint and back.
    let mut state: KeyState = serde_json::from_slice(&serde_json::to_vec(&state).unwrap()).unwrap();
    at(&mut state, 1, TimeMode::None, |h| {
        assert_eq!(value.get(h).unwrap(), Some((7, "seven".into())));
        assert_eq!(list.get(h).unwrap(), [0.1, -1e300]);
        assert_eq!(map.entries_of(h).unwrap(), [(-1, None), (2, Some(true))]);
        assert!(map.contains_key(h, &2).unwrap());
        map.remove(h, &2).unwrap();
        assert!(!map.contains_key(h, &2).unwrap());
        map.remove(h, &-1).unwrap();
        list.put(h, &[2.0]).unwrap();
        assert_eq!(list.get(h).unwrap(), [2.0]);
        list.clear(h);
        value.clear(h);
    });
    assert!(state.is_empty());
}

#[test]
fn values_are_gone_after_their_time_to_live() {
    let value = ValueState::<u8>::new("value").with_ttl("1 second").unwrap();
    let list = ListState::<u8>::new("list").with_ttl("2 seconds").unwrap();
    let mut state = KeyState::default();
    at(&mut state, 1000, TimeMode::ProcessingTime, |h| {
        value.update(h, &1).unwrap();
        list.append(h, &1).unwrap();
    });
    at(&mut state, 1999, TimeMode::ProcessingTime, |h| {
        assert_eq!(value.get(h).unwrap(), Some(1));
        list.append(h, &2).unwrap();
    });
    assert_eq!(state.next_expiry_ms(), Some(2000));
    at(&mut state, 2000, TimeMode::ProcessingTime, |h| assert!(!value.exists(h).unwrap()));
    assert_eq!(state.next_expiry_ms(), Some(3000));
    at(&mut state, 3000, TimeMode::ProcessingTime, |h| assert_eq!(list.get(h).unwrap(), [2]));
    at(&mut state, 3999, TimeMode::ProcessingTime, |_| {});
    assert!(state.is_empty());
    let error = at(&mut state, 0, TimeMode::EventTime, |h| value.update(h, &1)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedOperation);
    for (ttl, code) in [("0 seconds", ErrorCode::InvalidOption), ("soon", ErrorCode::InvalidIntervalFormat)] {
        assert_eq!(ValueState::<u8>::new("value").with_ttl(ttl).err().map(|e| e.code()), Some(code));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (number, text) = (ValueState::<u8>::new("s"), ValueState::<String>::new("s"));
    let list = ListState::<u8>::new("s");
    let mut state = KeyState::default();
    at(&mut state, 0, TimeMode::None, |h| {
        number.update(h, &1).unwrap();
        assert_eq!(text.get(h).unwrap_err().code(), ErrorCode::CheckpointIncompatible);
        assert_eq!(list.append(h, &1).unwrap_err().code(), ErrorCode::CheckpointIncompatible);
        assert_eq!(h.register_timer(1).unwrap_err().code(), ErrorCode::UnsupportedOperation);
        assert_eq!(h.emit(["a".into()]).unwrap_err().code(), ErrorCode::DatatypeMismatch);
        assert_eq!(h.emit(["a".into(), "b".into()]).unwrap_err().code(), ErrorCode::DatatypeMismatch);
        h.emit(["a".into(), 1i32.into()]).unwrap();
        assert_eq!(*h.emitted, [[ScalarValue::from("a"), ScalarValue::from(1i64)]]);
    });
}

#[test]
fn timers_are_a_set() {
    let mut state = KeyState::default();
    at(&mut state, 0, TimeMode::EventTime, |h| {
        for time in [5, 3, 5] {
            h.register_timer(time).unwrap();
        }
        h.delete_timer(9).unwrap();
        assert_eq!(h.list_timers(), [3, 5]);
        h.delete_timer(3).unwrap();
    });
    assert_eq!(state.timers.into_iter().collect::<Vec<_>>(), [5]);
}
