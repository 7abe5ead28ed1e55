//! A plot of what a gateway keeps, as SVG: disk, rows and memory over time.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Sample;

const SIZE: (u32, u32) = (720, 840);
const MARGIN: i32 = 12;
const LABELS: i32 = 64;
/// For the legend.
const HEADROOM: f64 = 1.35;
const MIB: f64 = 1024.0 * 1024.0;

struct Panel {
    unit: &'static str,
    lines: &'static [Line],
}

struct Line {
    name: &'static str,
    colour: RGBColor,
    size: fn(&Sample) -> f64,
}

const PANELS: [Panel; 3] = [
    Panel {
        unit: "MiB of disk",
        lines: &[
            Line { name: "log", colour: BLUE, size: |sample| sample.log_bytes as f64 / MIB },
            Line { name: "ledger", colour: RED, size: |sample| sample.ledger_bytes as f64 / MIB },
        ],
    },
    Panel {
        unit: "rows",
        lines: &[
            Line { name: "batches in the log", colour: BLUE, size: |sample| sample.batches as f64 },
            Line { name: "outcomes in the ledger", colour: RED, size: |sample| sample.outcomes as f64 },
            Line { name: "sets of terms", colour: GREEN, size: |sample| sample.terms as f64 },
        ],
    },
    Panel {
        unit: "MiB of memory",
        lines: &[Line { name: "resident memory", colour: BLACK, size: |sample| sample.memory_bytes as f64 / MIB }],
    },
];

pub(super) fn svg(samples: &[Sample]) -> String {
    let mut svg = String::new();
    draw(samples, SVGBackend::with_string(&mut svg, SIZE)).expect("memory takes it");
    svg
}

fn draw<'a>(samples: &[Sample], backend: SVGBackend<'a>) -> Result<(), Box<dyn Error + 'a>> {
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    for (panel, area) in PANELS.iter().zip(area.split_evenly((PANELS.len(), 1))) {
        draw_panel(panel, samples, &area)?;
    }
    area.present()?;
    Ok(())
}

fn draw_panel<'a>(
    panel: &Panel,
    samples: &[Sample],
    area: &DrawingArea<SVGBackend<'a>, Shift>,
) -> Result<(), Box<dyn Error + 'a>> {
    let minutes = |sample: &Sample| sample.at.as_secs_f64() / 60.0;
    let highest = |line: &Line| samples.iter().map(line.size).fold(1.0, f64::max);
    let highest = panel.lines.iter().map(highest).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, LABELS)
        .set_label_area_size(LabelAreaPosition::Bottom, LABELS / 2)
        .build_cartesian_2d(0.0..samples.last().map_or(1.0, minutes), 0.0..highest * HEADROOM)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_max_light_lines(0)
        .x_label_formatter(&|minutes| format!("{minutes:.1}"))
        .x_desc("minutes")
        .y_label_formatter(&|size| format!("{size:.0}"))
        .y_desc(panel.unit)
        .draw()?;
    for line in panel.lines {
        let points = samples.iter().map(|sample| (minutes(sample), (line.size)(sample)));
        let colour = line.colour;
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).background_style(WHITE).draw()?;
    Ok(())
}
