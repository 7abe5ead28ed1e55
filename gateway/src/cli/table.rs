//! JSON answers as plain text tables.

use serde_json::Value;

/// A list becomes rows under a heading, an object one line per field. What is within an object is indented.
pub(super) fn table(answer: &Value) -> String {
    match answer {
        Value::Array(rows) => grid(rows),
        Value::Object(fields) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            fields
                .iter()
                .map(|(name, value)| match value {
                    Value::Array(rows) => format!("{name}\n{}", grid(rows)),
                    Value::Object(_) => format!("{name}\n{}", indented(&table(value))),
                    value => format!("{name:width$}  {}\n", plain(value)),
                })
                .collect()
        }
        other => format!("{}\n", plain(other)),
    }
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}

fn grid(rows: &[Value]) -> String {
    let mut names: Vec<&String> = Vec::new();
    // A row lacks what it has no value for, such as a closing time.
    for (name, value) in rows.iter().filter_map(Value::as_object).flatten() {
        if !value.is_array() && !names.contains(&name) {
            names.push(name);
        }
    }
    let heading: Vec<String> = names.iter().map(|name| (*name).clone()).collect();
    let cells =
        rows.iter().map(|row| names.iter().map(|name| row.get(*name).map_or_else(String::new, plain)).collect());
    aligned(&std::iter::once(heading).chain(cells).collect::<Vec<_>>())
}

/// Lines of as many cells each, as columns that end on the right.
pub(super) fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            format!("  {}\n", cells.join("  "))
        })
        .collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_that_only_some_rows_have_is_shown() {
        let rows = json!([
            { "couponId": 9, "shards": [] },
            { "couponId": 104, "closesAt": "2026-12-24T00:00:00Z", "shards": [] },
        ]);
        let lines: Vec<_> = table(&rows).lines().map(|line| line.trim_end().to_owned()).collect();
        let expected = ["  couponId              closesAt", "         9", "       104  2026-12-24T00:00:00Z"];
        assert_eq!(lines, expected);
    }
}
