// Draws the charts of the report into its canvases, in their order.

const COLOURS = ['#3366cc', '#dc3912', '#ff9900', '#109618', '#990099', '#0099c6', '#dd4477', '#66aa00'];

// A bar from the lowest to the highest value, and a line at the median.
function ranges({ labels, ranges, unit }) {
  const label = ({ dataIndex }) => {
    const [low, median, high] = ranges[dataIndex].map(round);
    return `median ${median} ${unit}, from ${low} to ${high}`;
  };
  const medians = {
    type: 'line',
    data: ranges.map(([, median]) => median),
    showLine: false,
    pointStyle: 'line',
    pointRadius: 16,
    borderColor: '#1c1e21',
    borderWidth: 2,
  };
  const bars = { data: ranges.map(([low, , high]) => [low, high]), backgroundColor: COLOURS[0], minBarLength: 3 };
  return { type: 'bar', data: { labels, datasets: [medians, bars] }, options: options({ y: axis(unit) }, label, false) };
}

function lines({ points, unit }) {
  const datasets = Object.entries(points).map(([name, values], index) => ({
    label: name,
    data: values.map(([x, y]) => ({ x, y })),
    borderColor: COLOURS[index],
    backgroundColor: COLOURS[index],
    borderWidth: 1.5,
    pointRadius: 0,
  }));
  const scales = { x: { type: 'linear', title: { display: true, text: 'seconds' } }, y: axis(unit) };
  const label = ({ dataset, parsed }) => `${dataset.label}: ${round(parsed.y)} ${unit} at ${parsed.x} s`;
  return { type: 'line', data: { datasets }, options: options(scales, label, true) };
}

function axis(unit) {
  return { beginAtZero: true, title: { display: true, text: unit } };
}

function options(scales, label, hasLegend) {
  return { animation: false, scales, plugins: { legend: { display: hasLegend }, tooltip: { callbacks: { label } } } };
}

function round(value) {
  return Number(value.toPrecision(3)).toLocaleString('en');
}

const charts = JSON.parse(document.getElementById('charts').textContent);
document.querySelectorAll('canvas').forEach((canvas, index) => {
  const chart = charts[index];
  new Chart(canvas, chart.kind === 'Ranges' ? ranges(chart) : lines(chart));
});
