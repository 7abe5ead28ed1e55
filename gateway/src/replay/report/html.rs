//! The report as one page of HTML, with bars made of CSS.

use std::fmt::Write as _;

use super::{Report, Row};

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Replay of recorded decisions</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem; }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; width: 8rem; }
td.bars { width: 50%; }
.bar { height: .7rem; margin: .2rem 0; min-width: 1px; }
.before { background: #9aa5b1; }
.after { background: #2f6fde; }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; }
</style>
"#;

pub(super) fn page(report: &Report) -> String {
    let mut page = HEAD.to_owned();
    let _ = writeln!(page, "<h1>Replay of the {}</h1>", report.hook.as_str());
    page += &summary(report);
    page += "<p><span class=\"before\">&emsp;</span> before &emsp;<span class=\"after\">&emsp;</span> after</p>\n";
    for (title, rows) in [
        ("Verdicts", &report.verdicts),
        ("Spread over shards", &report.shards),
        ("Refusals", &report.refusals),
        ("Calls without a decision", &report.failures),
    ] {
        page += &plot(title, rows);
    }
    page += &differences(report);
    page + "</html>\n"
}

fn summary(report: &Report) -> String {
    let mut lines = vec![
        ("new policy", report.digest.to_string()),
        ("decisions", report.decisions.to_string()),
        ("changed", report.changed.to_string()),
        ("differ on a used instance", report.stateful.to_string()),
        ("fuel, in all", report.fuel.total.to_string()),
        ("fuel of a decision: median, 99%, most", {
            format!("{}, {}, {}", report.fuel.median, report.fuel.p99, report.fuel.max)
        }),
    ];
    let recorded = report.recorded.iter();
    lines.extend(recorded.map(|row| ("decided before", format!("{} by {} {}", row.decisions, row.policy, row.digest))));
    lines.extend(report.skipped.iter().map(|row| ("not replayed", format!("{}: {}", row.decisions, row.because))));
    let rows = lines.iter().map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(value)));
    format!("<table>\n{}</table>\n", rows.collect::<String>())
}

/// Two bars a row, as long as the numbers beside them.
fn plot(title: &str, rows: &[Row]) -> String {
    let longest = rows.iter().map(|row| row.before.max(row.after)).max().unwrap_or(0);
    if longest == 0 {
        return String::new();
    }
    let bar = |side: &str, number: u64| {
        // In hundredths of a percent: whole numbers are printed alike everywhere.
        let length = u128::from(number) * 10_000 / u128::from(longest);
        format!("<div class=\"bar {side}\" style=\"width:{}.{:02}%\"></div>", length / 100, length % 100)
    };
    let row = |Row { decision, before, after }: &Row| {
        format!(
            "<tr><td>{}</td><td class=\"number\">{before}</td><td class=\"number\">{after}</td>\
             <td class=\"bars\">{}{}</td></tr>\n",
            escaped(decision),
            bar("before", *before),
            bar("after", *after)
        )
    };
    format!("<h2>{title}</h2>\n<table>\n{}</table>\n", rows.iter().map(row).collect::<String>())
}

fn differences(report: &Report) -> String {
    let mut text = String::new();
    for difference in &report.differences {
        let json = serde_json::to_string_pretty(difference).expect("numbers and strings are JSON");
        let _ = writeln!(text, "<pre>{}</pre>", escaped(&json));
    }
    if text.is_empty() { text } else { format!("<h2>The first decisions that change</h2>\n{text}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
