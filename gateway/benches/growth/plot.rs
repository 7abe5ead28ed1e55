//! A plot of one dimension, as SVG.

use std::error::Error;

use plotters::prelude::*;

use crate::dimension::{Growth, Measured};

type Figure = fn(&Measured) -> f64;

const SIZE: (u32, u32) = (640, 360);
const MARGIN: i32 = 12;
const LABELS: i32 = 56;
/// For the legend.
const HEADROOM: f64 = 1.35;
const LINES: [(&str, RGBColor, Figure); 2] =
    [("µs a request", BLUE, |point| point.wall_us), ("processor time of the servers, µs", RED, |point| point.cpu_us)];

/// The points stand at equal distances: 0 has no logarithm.
pub(crate) fn svg(growth: &Growth) -> String {
    let mut svg = String::new();
    draw(growth, SVGBackend::with_string(&mut svg, SIZE)).expect("memory takes it");
    svg
}

fn draw<'a>(growth: &Growth, backend: SVGBackend<'a>) -> Result<(), Box<dyn Error + 'a>> {
    let points = growth.points.len();
    let highest = growth.points.iter().flat_map(|point| [point.wall_us, point.cpu_us]).fold(1.0, f64::max);
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, LABELS)
        .set_label_area_size(LabelAreaPosition::Bottom, LABELS)
        .build_cartesian_2d(-0.25..points as f64 - 0.75, 0.0..highest * HEADROOM)?;
    let at = |x: &f64| growth.points.get(x.round() as usize).map_or_else(String::new, |point| point.at.to_string());
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_max_light_lines(0)
        .x_labels(points)
        .x_label_formatter(&at)
        .x_desc(growth.name)
        .y_label_formatter(&|us| format!("{us:.0}"))
        .y_desc("µs")
        .draw()?;
    for (name, colour, figure) in LINES {
        let line = growth.points.iter().enumerate().map(|(x, point)| (x as f64, figure(point)));
        let line = LineSeries::new(line, colour.stroke_width(2)).point_size(4);
        chart
            .draw_series(line)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).background_style(WHITE).draw()?;
    area.present()?;
    Ok(())
}
