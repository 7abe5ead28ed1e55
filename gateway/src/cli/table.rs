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
    let names: Vec<&String> = rows
        .first()
        .and_then(Value::as_object)
        .map(|row| row.iter().filter(|(_, value)| !value.is_array()).map(|(name, _)| name).collect())
        .unwrap_or_default();
    let heading: Vec<String> = names.iter().map(|name| (*name).clone()).collect();
    let cells = rows.iter().map(|row| names.iter().map(|name| plain(&row[name.as_str()])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heading).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            format!("  {}\n", cells.join("  "))
        })
        .collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
