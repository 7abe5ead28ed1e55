//! The results as JSON, as Markdown, and as a page with plots that needs no network.

use serde_json::json;

use crate::common::results;
use crate::dimension::{Growth, Measured};
use crate::plot;

/// A difference below this share is noise on a machine that does nothing else.
const FLAT: f64 = 0.2;
const STYLE: &str = "body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: auto; }
td, th { text-align: left; padding-right: 1.5rem; }";

pub(crate) fn write(growths: &[Growth]) {
    let title = format!("What growth costs, on {}", results::machine());
    let markdown: String = growths.iter().map(markdown).collect();
    let page: String = growths.iter().map(html).collect();
    let head = format!("<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n<style>{STYLE}</style>\n");
    println!("\n{markdown}");
    let paths = [
        results::write_json("growth.json", &json!({ "machine": results::machine(), "dimensions": growths })),
        results::write("growth.md", &format!("# {title}\n\n{markdown}")),
        results::write("growth.html", &format!("{head}<h1>{title}</h1>\n{page}")),
    ];
    for path in paths {
        println!("{}", path.display());
    }
}

fn markdown(growth: &Growth) -> String {
    let table = results::table(&header(growth), &rows(growth));
    format!("## {}\n\nGrowing: {}.\n\n{table}\n{}\n\n", growth.name, growth.about, verdict(growth))
}

fn html(growth: &Growth) -> String {
    let line = |tag: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let header = line("th", &header(growth).map(str::to_owned));
    let rows: String = rows(growth).iter().map(|row| line("td", row)).collect();
    let (plot, verdict) = (plot::svg(growth), verdict(growth));
    let Growth { name, about, .. } = growth;
    format!("<h2>{name}</h2>\n<p>Growing: {about}.</p>\n{plot}\n<table>{header}{rows}</table>\n<p>{verdict}</p>\n")
}

fn header(growth: &Growth) -> [&'static str; 4] {
    [growth.name, "µs a request", "processor time of the servers, µs", "of the load generator, µs"]
}

fn rows(growth: &Growth) -> Vec<Vec<String>> {
    let row = |point: &Measured| {
        let [wall, cpu, generator] = [point.wall_us, point.cpu_us, point.generator_us].map(|us| format!("{us:.1}"));
        vec![point.at.to_string(), wall, cpu, generator]
    };
    growth.points.iter().map(row).collect()
}

/// Whether the last point costs as much as the first one.
fn verdict(growth: &Growth) -> String {
    let [first, .., last] = &growth.points[..] else { return String::new() };
    let compare = |what, first: f64, last: f64| {
        let factor = last / first;
        let word = if (factor - 1.0).abs() < FLAT { "flat" } else { "not flat" };
        format!("{what}: {word}, {factor:.2} times the first at the last point")
    };
    let (wall, cpu) = (
        compare("Time", first.wall_us, last.wall_us),
        compare("processor time of the servers", first.cpu_us, last.cpu_us),
    );
    format!("{wall}; {cpu}.")
}
