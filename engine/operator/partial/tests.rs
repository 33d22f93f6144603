//! Tables over a dictionary that grows, stays, or is another one.

use super::*;
use arrow::array::StringArray;

#[test]
fn an_hll_table_follows_its_dictionary() {
    let word = |text: &str| hll::pack(hll::hash_bytes(text.as_bytes()), 9);
    let mut table = HllTable { column: 0, precision: 9, values: None, packed: vec![] };
    // Grows, stays, shrinks, begins alike and goes on otherwise, has the same bytes cut otherwise.
    let dictionaries: [&[&str]; 7] =
        [&[], &["a", "bc"], &["a", "bc", "d"], &["a", "bc", "d"], &["a"], &["b", "bc"], &["bb", "c", "d"]];
    for texts in dictionaries {
        let values: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        table.refresh(&Codes { codes: vec![].into(), values }).unwrap();
        let expected: Vec<u32> = texts.iter().map(|text| word(text)).chain([0]).collect();
        assert_eq!(table.packed, expected, "{texts:?}");
    }
}
