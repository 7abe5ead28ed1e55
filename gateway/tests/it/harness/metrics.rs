//! A parser for the part of the Prometheus text format that `/metrics` uses.

use super::Gateway;

pub(crate) struct Metrics {
    series: Vec<Series>,
}

struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Gateway {
    pub(crate) async fn metrics(&self) -> Metrics {
        let answer = self.operator.get("/metrics").await;
        assert_eq!(answer.status, 200);
        Metrics::parse(&answer.text())
    }
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { series: lines.map(|line| Series::parse(line).unwrap_or_else(|| panic!("no series: {line}"))).collect() }
    }

    /// Panics unless exactly one series has these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.matching(name, labels).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}");
        found[0].value
    }

    /// The sum of all series that have at least these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|series| series.value).sum()
    }

    pub(crate) fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Series> {
        let carries = |series: &Series, (key, value): &(&str, &str)| {
            series.labels.iter().any(|label| label.0 == *key && label.1 == *value)
        };
        self.series
            .iter()
            .filter(move |series| series.name == name && labels.iter().all(|label| carries(series, label)))
    }
}

impl Series {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}')?;
        let pairs = labels.split(',').filter(|pair| !pair.is_empty());
        let labels = pairs.map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.to_owned(), value.trim_matches('"').to_owned()))
        });
        Some(Self { name: name.to_owned(), labels: labels.collect::<Option<_>>()?, value: value.parse().ok()? })
    }
}

#[test]
fn the_metrics_parser_reads_every_series() {
    let metrics = Metrics::parse("# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"2\"} 4\nb 0.5\n");
    assert_eq!(metrics.value("a", &[("x", "2")]).to_bits(), 4.0_f64.to_bits());
    assert_eq!(metrics.sum("a", &[("y", "2")]).to_bits(), 7.0_f64.to_bits());
    assert!(metrics.has("b", &[]) && !metrics.has("a", &[("x", "3")]));
}
