// Quality against cost, and what the cost is made of.

function paretoRows(cost) {
  return standings()
    .filter((one) => isNumber(one.value) && isNumber(cost(one)))
    .map((one) => {
      const range = seedRange(one.number);
      return {
        row: one.number, name: one.row.label, cost: cost(one), value: one.value, low: range?.[0], high: range?.[1],
        metric: metricText(one.value), range: range ? `${metricText(range[0])} to ${metricText(range[1])}` : "one seed",
        control: one.number === trackNow().control,
      };
    });
}

// Rows that no other row beats on both: cheapest first.
function front(rows) {
  const better = (a, b) => (metricNow().higher === false ? a < b : a > b);
  const kept = [];
  for (const row of [...rows].sort((a, b) => a.cost - b.cost || (better(a.value, b.value) ? -1 : 1))) {
    if (!kept.length || better(row.value, kept.at(-1).value)) kept.push(row);
  }
  return kept;
}

// Labels beside their points, pushed apart where they would lie on each other.
function spread(rows, toX, toY, width, widthOf) {
  const placed = rows.map((row) => {
    const [x, y] = [toX(row.cost), toY(row.value)];
    const flip = x + 10 + widthOf(row.name) > width;
    return { ...row, flip, x, y, at: y, from: flip ? x - 10 - widthOf(row.name) : x + 10, to: flip ? x - 10 : x + 10 + widthOf(row.name) };
  });
  placed.sort((a, b) => a.y - b.y);
  placed.forEach((one, n) => {
    for (const other of placed.slice(0, n)) {
      if (one.from < other.to && other.from < one.to) one.y = Math.max(one.y, other.y + 14);
    }
    for (const other of placed) {
      const inside = other !== one && one.from < other.x + 6 && other.x - 6 < one.to;
      if (inside && Math.abs(one.y - other.at) < 11) one.y = other.at + 13;
    }
  });
  return placed;
}

const pareto = (cost, costTitle, costText, format) => (width, c) => {
  const rows = paretoRows(cost);
  if (rows.length < 2) return trackNow().rows.some((row) => row.ranked) ? "Fewer than two rows have both figures here." : "No row is ranked.";
  const height = 330;
  const inner = width - 66;
  const ends = rows.flatMap((one) => [one.low ?? one.value, one.high ?? one.value]);
  const edge = (Math.max(...ends) - Math.min(...ends)) * 0.08 || 0.01;
  const domain = [Math.min(...ends) - edge, Math.max(...ends) + edge];
  const costs = [Math.min(...rows.map((one) => one.cost)) / 1.25, Math.max(...rows.map((one) => one.cost)) * 1.25];
  const toX = (value) => (Math.log(value / costs[0]) / Math.log(costs[1] / costs[0])) * inner;
  const toY = (value) => (1 - (value - domain[0]) / (domain[1] - domain[0])) * height;
  const toValue = (pixel) => domain[0] + (1 - pixel / height) * (domain[1] - domain[0]);
  const toCost = (pixel) => costs[0] * (costs[1] / costs[0]) ** (pixel / inner);
  const labels = spread(rows, toX, toY, inner, (name) => labelWidth([name], 150)).map((one) => {
    const anchor = one.x + (one.flip ? -1 : 1) * (Math.abs(one.y - one.at) > 4 ? 24 : 9);
    return { ...one, label: toValue(one.y), anchor: toCost(anchor), led: anchor !== one.x && Math.abs(one.y - one.at) > 4 };
  });
  const best = new Set(front(rows).map((one) => one.row));
  const values = rows.map((one) => ({ ...one, front: best.has(one.row), costText: costText(one.cost) }));
  const x = { field: "cost", type: "quantitative", title: costTitle(), scale: { type: "log", domain: costs, nice: false }, axis: { grid: true, tickCount: 4, format, labelOverlap: true } };
  const y = { field: "value", type: "quantitative", title: metricNow().id.replace(/-/g, " "), scale: { domain, nice: false, zero: false }, axis: { tickCount: 5, format: ".2f" } };
  const text = (flip, halo) => ({
    data: { values: labels.filter((one) => one.flip === flip) },
    mark: { type: "text", align: flip ? "right" : "left", limit: 150, ...(halo ? { stroke: c.card, strokeWidth: 4 } : {}) },
    encoding: { x: { ...x, field: "anchor" }, y: { ...y, field: "label" }, text: { field: "name" } },
  });
  const led = labels.filter((one) => one.led);
  const sides = [false, true].filter((flip) => labels.some((one) => one.flip === flip));
  return {
    spec: {
      width: inner, height, autosize: "none", padding: { left: 58, right: 8, top: 8, bottom: 46 },
      layer: [
        { data: { values: values.filter((one) => one.front) }, mark: { type: "line", interpolate: "step-after", color: c.accent, strokeWidth: 1.5, strokeDash: [5, 3] }, encoding: { x, y, order: { field: "cost" } } },
        ...(values.some((one) => isNumber(one.low)) ? [{ data: { values: values.filter((one) => isNumber(one.low)) }, mark: { type: "rule", strokeWidth: 1.5, color: c.muted }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" } } }] : []),
        ...(led.length ? [{ data: { values: led }, mark: { type: "rule", color: c.muted, strokeWidth: 0.8 }, encoding: { x, y, x2: { field: "anchor" }, y2: { field: "label" } } }] : []),
        { data: { values }, mark: { type: "point", size: 90, strokeWidth: 2, tooltip: true },
          encoding: { x, y,
            fill: { condition: { test: "datum.front", value: c.accent }, value: c.card },
            stroke: { condition: { test: "datum.front", value: c.accent }, value: c.muted },
            shape: { condition: { test: "datum.control", value: "diamond" }, value: "circle" },
            tooltip: tip(["name", "strategy"], ["metric", "metric"], ["range", rangeOver()], ["costText", "cost"]) } },
        ...sides.flatMap((flip) => [text(flip, true), text(flip, false)]),
      ],
    },
  };
};

const paretoTable = (cost, costText) => () => {
  const rows = paretoRows(cost);
  const best = new Set(front(rows).map((one) => one.row));
  return { head: ["strategy", "cost", metricNow().id, rangeOver(), "on the front"], rows: rows.map((one) => [one.name, costText(one.cost), one.metric, one.range, best.has(one.row) ? "yes" : "no"]) };
};
const rangeOver = () => (repeatsNow() === "split" ? "over splits and seeds" : "over seeds");
const paretoCaption = (what) => () =>
  `${metricNow().title}, mean over ${plural(blocksNow().length, "block")}, against ${what} (logarithmic). Filled and joined: no other strategy is both better and cheaper. Diamond: the control. Vertical bars: lowest and highest ${splitsText(trackNow()) ? "of seeds and splits" : "seed"}${drawsOf(trackNow().blocks).length > 1 ? "" : "; here there is one seed, so none"}. ${filterText()}`.trim();

const secondsOf = (one) => one.seconds;
const meanTrainable = (one) => one.trainable && mean(one.trainable);
const devices = () => list(unique(page.runs.coded.made.values.map((made) => made.device).filter(Boolean))) || "unknown device";

const byTime = figure({
  title: "Quality against time",
  caption: paretoCaption("median seconds a run, as if it had been alone"),
  draw: pareto(secondsOf, () => `seconds a run (${devices()})`, (value) => `${seconds(value)} s`, "~g"),
  table: paretoTable(secondsOf, (value) => `${seconds(value)} s`),
});
const bySize = figure({
  title: "Quality against parameters that learn",
  caption: paretoCaption("the mean number of parameters that learn"),
  draw: pareto(meanTrainable, () => "parameters that learn", count, "~s"),
  table: paretoTable(meanTrainable, count),
});

// -- what a run costs ----------------------------------------------------------------------------

const PARTS = [["train", "training"], ["evaluate", "evaluation"], ["features", "features"], ["load", "loading"]];

function costRows() {
  return standings().flatMap(({ row, runs }) => {
    if (!runs.length || runs.some((run) => coded("packed", run))) return [];
    return PARTS.map(([part, name], order) => {
      const value = mean(runs.map((run) => columns[part][run] ?? 0));
      return { strategy: row.label, part: name, order, value, text: `${seconds(value)} s`, runs: runs.length };
    });
  });
}

function drawCost(width, c) {
  const values = costRows();
  if (!values.length) return "No run here has seconds of its own: runs that shared a device with others have none.";
  const names = unique(values.map((one) => one.strategy));
  return {
    spec: {
      width: width - 4, height: names.length * 28 + 90, autosize: { type: "fit", contains: "padding" }, data: { values },
      mark: { type: "bar", height: { band: 0.66 }, stroke: c.card, strokeWidth: 1, tooltip: true },
      encoding: {
        y: { field: "strategy", type: "nominal", sort: null, title: null, axis: { labelColor: c.ink, labelPadding: 8, domain: false, ticks: false, labelLimit: 160 } },
        x: { field: "value", type: "quantitative", aggregate: "sum", title: `mean seconds a run (${devices()})`, axis: { tickCount: 5 } },
        color: { field: "part", type: "nominal", title: null, scale: { domain: PARTS.map(([, name]) => name), range: [c.part_1, c.part_2, c.part_3, c.part_4] }, legend: { orient: "top", columns: width < 480 ? 2 : 4 } },
        order: { field: "order" },
        tooltip: tip(["strategy", "strategy"], ["part", "part"], ["text", "mean"], ["runs", "runs"]),
      },
    },
  };
}

const costParts = figure({
  title: "What the seconds of a run are spent on",
  caption: () => `Mean over the finished runs shown, each as if it had been alone: work that runs share is charged to each in full. ${filterText()}`.trim(),
  draw: drawCost,
  table: () => {
    const values = costRows();
    const names = unique(values.map((one) => one.strategy));
    return {
      head: ["strategy", ...PARTS.map(([, name]) => `${name} (s)`), "total (s)"],
      rows: names.map((name) => {
        const own = values.filter((one) => one.strategy === name).map((one) => one.value);
        return [name, ...own.map(seconds), seconds(sum(own))];
      }),
    };
  },
});
