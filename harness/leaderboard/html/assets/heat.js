// The heat map of differences to the control, a strategy by a cell.

const MOST_ACROSS = 24; // blocks that fit beside each other; more of them go down the page
const MANY = 60; // blocks that stand in a box of their own, in low rows
const LONGEST = 300; // pixels of a block's name below the map, where it stands at 40 degrees
const LABELS_FROM = 26; // pixels a cell needs for its text

const isDecided = (tested) => ["better", "worse"].includes(tested?.verdict);

function heatValues() {
  const track = trackNow();
  const intervals = intervalsNow();
  return standings()
    .filter((one) => one.number !== track.control)
    .flatMap((one) =>
      one.blocks.map((block) => {
        const value = difference(one.number, block);
        const tested = intervals.get(`${one.number} ${block}`);
        return {
          row: one.number, block, value, strategy: one.row.label, label: track.blocks[block].label,
          dataset: track.blocks[block].dataset, backbone: track.blocks[block].backbone,
          text: points(value),
          interval: tested ? `${intervalText(tested)}, ${basisOf(tested, track.blocks[block])}` : "not computed",
          verdict: tested ? `${verdictText(tested)}, ${plural(tested.seeds, repeatsNow())}` : "not tested",
          decided: isDecided(tested),
        };
      }),
    );
}

// The scale ends where nine tenths of the differences do: one outlier would leave the rest grey.
function heatLimit(values) {
  const sizes = values.map((one) => Math.abs(one.value ?? 0)).sort((a, b) => a - b);
  return Math.max(2, sizes[Math.floor(0.9 * (sizes.length - 1))] ?? 2);
}

function heatCaption() {
  const control = controlOf(trackNow());
  if (!control) return "No complete control, so there are no differences.";
  const tested = intervalsNow().size ? `Framed cells are decided: where no strategy differed, at most 5 % of boards would decide anything. Fewer than three ${repeatsNow()}s decide nothing; intervals of one seed are over test images only.` : "Nothing was tested here: sizes alone say little.";
  const good = { true: "blue is better", false: "blue is better: lower values", null: "which side is better is not known" }[metricNow().higher];
  return `${metricNow().title} minus that of ${control.label}, in points, ${meanOver()}; ${good}, orange is worse. ${tested} Choose a cell to open it. ${filterText()}`.trim();
}

function drawHeat(width, c) {
  const values = heatValues();
  if (!values.some((one) => isNumber(one.value))) return heatCaption();
  const blocks = unique(values.map((one) => one.label));
  const names = unique(values.map((one) => one.strategy));
  const upright = width < 760 || blocks.length > MOST_ACROSS;
  const many = blocks.length > MANY;
  const limit = heatLimit(values);
  const better = metricNow().higher === false ? -1 : 1;
  // Where a block's name goes on in a line of its own, beside dataset and backbone.
  const broken = [...(hasStarts(trackNow()) ? [["@", " / @"]] : []), ...(hasBudgets(trackNow()) ? [[" (", " / ("]] : [])];
  const strategy = { field: "strategy", type: "nominal", sort: null, title: null, axis: { labelColor: c.ink, labelAngle: upright ? -60 : 0, orient: upright ? "top" : "left", labelPadding: 6, domain: false, ticks: false, labelLimit: 150 } };
  const cells = { field: "label", type: "nominal", sort: null, title: null, axis: { labelAngle: upright ? 0 : -40, orient: upright ? "left" : "bottom", labelPadding: 6, domain: false, ticks: false, labelLimit: upright ? 150 : LONGEST, ...(upright && !many ? { labelExpr: `split(${broken.reduce((text, [at, into]) => `replace(${text}, '${at}', '${into}')`, "datum.label")}, ' / ')`, labelFontSize: 11, labelLineHeight: 12 } : {}) } };
  const left = labelWidth(upright ? blocks.flatMap((name) => (many ? name : broken.reduce((text, [at, into]) => text.replace(at, into), name).split(" / "))) : names, 150);
  const wide = (width - left - 30) / (upright ? names.length : blocks.length);
  const high = many ? 17 : upright ? 30 + 12 * broken.length : 34;
  const fill = {
    field: "value", type: "quantitative",
    scale: { domain: [-limit, 0, limit], range: better > 0 ? [c.far_bad, c.middle, c.far_good] : [c.far_good, c.middle, c.far_bad], clamp: true, interpolate: "lab" },
    legend: { title: "points", orient: upright ? "bottom" : "right", gradientLength: 120, tickCount: 3, format: ".0f" },
  };
  const layer = [
    { mark: { type: "rect", tooltip: true, cursor: "pointer", cornerRadius: 3 },
      encoding: { color: fill,
        stroke: { condition: { test: "datum.decided", value: c.ink }, value: c.card },
        strokeWidth: { condition: { test: "datum.decided", value: 1.8 }, value: 1 },
        tooltip: tip(["strategy", "strategy"], ["label", "cell"], ["text", "difference (points)"], ["interval", "interval"], ["verdict", "verdict"]) } },
  ];
  if (wide >= LABELS_FROM) {
    for (const one of values) one.shown = wide < 34 && Math.abs(one.value ?? 0) >= 9.95 ? fixed(one.value, 0) : one.text;
    layer.push({ mark: { type: "text", fontSize: wide < 40 ? 10 : 12, tooltip: true, cursor: "pointer" }, encoding: { text: { field: "shown" }, color: { value: c.ink }, tooltip: layer[0].encoding.tooltip } });
  }
  const across = upright ? names.length : blocks.length;
  const room = Math.max(width - 4, left + 30 + across * 20);
  const beside = upright ? Math.max(5, labelWidth(names.slice(-1), 150) / 2 - wide / 2) : 5; // the last name, at 60 degrees
  return {
    marks: values.length * layer.length, tall: many,
    spec: {
      padding: { left: 5, top: 5, bottom: 5, right: beside },
      width: room, height: high * (upright ? blocks.length : names.length) + (upright ? 190 : Math.max(150, labelWidth(blocks, LONGEST) * 0.65 + 40)), autosize: { type: "fit", contains: "padding" },
      data: { values }, encoding: { x: upright ? strategy : cells, y: upright ? cells : strategy }, layer,
      config: { axis: { grid: false } },
    },
  };
}

const heat = figure({
  title: "Difference to the control",
  caption: heatCaption,
  draw: drawHeat,
  open: (datum) => datum.block !== undefined && openCell(datum.row, datum.block),
  table: () => {
    const track = trackNow();
    const rows = standings();
    const intervals = intervalsNow();
    const cell = (row, block) => {
      const tested = intervals.get(`${row} ${block}`);
      const mark = isDecided(tested) ? ` ${VERDICTS[tested.verdict]} ${tested.verdict}` : "";
      const text = row === track.control ? metricText(track.cells[chosen.metric].values[row][block]) : points(difference(row, block));
      const label = `Open ${track.rows[row].label} on ${track.blocks[block].label}: ${text}${mark}`;
      return el("button", { type: "button", class: "link", "aria-label": label, onclick: () => openCell(row, block) }, `${text}${mark}`);
    };
    return {
      head: ["cell", ...rows.map((one) => (one.number === track.control ? `${one.row.label} (${metricNow().id})` : `${one.row.label} (points)`))],
      rows: blocksNow().map((block) => [track.blocks[block].label, ...rows.map((one) => cell(one.number, block))]),
    };
  },
});
