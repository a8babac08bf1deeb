//! The committed files: read, compared, written anew.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// With this set the files are written, not compared.
const WRITE: &str = "UNDERSTUDY_WRITE_VECTORS";

/// Compares the file of this name with what it should hold, or writes it.
///
/// # Panics
/// If it holds anything else.
pub(crate) fn assert_committed(name: &str, cases: &[Value]) {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../peer-client/web/vectors")).join(name);
    let path = path.with_extension("json");
    let text = format!("[\n{}\n]\n", cases.iter().map(written).collect::<Vec<_>>().join(",\n"));
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, text).expect("the vectors can be written");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let at = committed.lines().zip(text.lines()).take_while(|(one, other)| one == other).count();
    assert!(
        committed == text,
        "{} is not what this crate does, from line {} on. If that is meant: {WRITE}=1 cargo test -p protocol --test vectors, then \
         bring the TypeScript in peer-client/web to do the same.",
        path.display(),
        at + 1
    );
}

/// A case on one line; the steps of a transcript on one each.
fn written(case: &Value) -> String {
    let Some(steps) = case["steps"].as_array() else { return case.to_string() };
    let mut rest = case.clone();
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("steps");
    }
    let steps: Vec<_> = steps.iter().map(Value::to_string).collect();
    let rest = rest.to_string();
    format!("{},\"steps\":[\n{}\n]}}", rest.strip_suffix('}').unwrap_or_default(), steps.join(",\n"))
}
