// Lines, one a strategy: what more labels change, and what more trials would have found.

const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"];
const DASHES = [[1, 0], [6, 3], [2, 2]];

// A strategy keeps its colour, dash and shape whatever is shown: nine differ without the shape.
function lineStyle(drawn, c, width) {
  const names = trackNow().rows.map((row) => row.label);
  const shown = names.filter((name) => drawn.has(name));
  const colours = [c.accent, c.bad, c.part_3];
  const legend = { orient: "top", columns: Math.max(1, Math.floor((width - 60) / (labelWidth(shown, 150) + 36))), values: shown, rowPadding: 2, symbolStrokeWidth: 2, labelLimit: 150 };
  const style = (kinds) => ({ field: "name", type: "nominal", title: null, sort: null, scale: { domain: names, range: names.map((_, n) => kinds(n)) }, legend });
  return { color: style((n) => colours[n % 3]), shape: style((n) => SHAPES[n % 8]) };
}

function lineLayers(values, x, y, tooltip, c, width) {
  const names = trackNow().rows.map((row) => row.label);
  for (const one of values) one.dash = DASHES[Math.floor(names.indexOf(one.name) / 3) % 3];
  const strokeDash = { field: "dash", type: "nominal", scale: null }; // dashes would fray the legend's shapes
  const { color, shape } = lineStyle(new Set(values.map((one) => one.name)), c, width);
  return [
    { mark: { type: "line", strokeWidth: 2 }, encoding: { x, y, color, strokeDash } },
    { mark: { type: "point", size: 60, tooltip: true }, encoding: { x, y, color, shape, tooltip } },
  ];
}

// -- label budgets ---------------------------------------------------------------------------------

const hasBudgets = (track) => track.blocks.some((block) => block.labels);
const ofBudget = (block) => block.labels ?? ALL_LABELS;
const shareOf = (budget) => (budget === ALL_LABELS ? 100 : budget.endsWith("%") ? Number(budget.slice(0, -1)) : null);

// Blocks that differ in their budget alone share a panel, named as they are without it.
function panelOf(block) {
  if (!block.labels) return block.label;
  return block.label.replace(` (${block.labels} labels)`, "").replace(`(${block.labels} labels, `, "(");
}

function budgetValues() {
  const track = trackNow();
  const { values } = track.cells[chosen.metric];
  return blocksNow(ALL).flatMap((number) => {
    const block = track.blocks[number];
    return track.rows.flatMap((row, n) => {
      const value = values[n][number];
      return isNumber(value) ? [{ panel: panelOf(block), name: row.label, budget: ofBudget(block), share: shareOf(ofBudget(block)), value, text: metricText(value) }] : [];
    });
  });
}

// Shares are on one scale, which is logarithmic: a tenth is as far from a hundredth as from the whole.
// A count and a share are not: then budgets stand in their order, evenly.
function budgetAxis(values) {
  const budgets = unique(trackNow().blocks.map(ofBudget));
  const labelled = { labelAngle: 0, labelOverlap: "greedy", grid: false };
  if (values.some((one) => one.share === null)) {
    return { field: "budget", type: "ordinal", title: "images with a label", sort: budgets, axis: labelled, scale: { type: "point", padding: 0.3 } };
  }
  const shares = unique(budgets.map(shareOf));
  return { field: "share", type: "quantitative", title: "training images with a label (%)", scale: { type: "log", nice: false, domain: [Math.min(...shares) / 1.1, Math.max(...shares) * 1.1] }, axis: { ...labelled, values: shares, format: "~g" } };
}

function drawBudgets(width, c) {
  const values = budgetValues();
  if (!hasBudgets(trackNow())) return "All runs of this track have all labels.";
  if (!values.length) return "No row has all its runs in a block shown.";
  const panels = unique(values.map((one) => one.panel));
  const across = Math.max(1, Math.min(panels.length, Math.floor(width / 340), 3));
  const y = { field: "value", type: "quantitative", title: metricNow().id.replace(/-/g, " "), scale: { zero: false }, axis: { tickCount: 5, format: ".2f" } };
  const tooltip = tip(["name", "strategy"], ["panel", "cell"], ["budget", "labels"], ["text", "mean"]);
  return {
    marks: values.length * 2,
    spec: {
      data: { values },
      facet: { field: "panel", type: "nominal", sort: null, title: null, header: { labelFontSize: 12, labelFontWeight: 600, labelColor: c.ink, labelLimit: width / across - 30 } },
      columns: across, spacing: 24, resolve: { scale: { y: "independent" }, axis: { x: "independent" } },
      spec: { width: Math.min(520, width / across - 24) - 62, height: 230, layer: lineLayers(values, budgetAxis(values), y, tooltip, c, width) },
    },
  };
}

const byBudget = figure({
  title: "Figure against label budget",
  caption: () =>
    `${metricNow().title}, ${meanOver()}, where only so many training images keep their label; validation and test keep all of theirs, and a small budget is part of a larger one. A panel a dataset and backbone, each on a scale of its own. ${filterText(ALL)}`.trim(),
  draw: drawBudgets,
  table: () => {
    const track = trackNow();
    const { values } = track.cells[chosen.metric];
    return {
      head: ["cell", "labels", ...track.rows.map((row) => row.label)],
      rows: blocksNow(ALL).map((block) => [panelOf(track.blocks[block]), ofBudget(track.blocks[block]), ...track.rows.map((_, row) => metricText(values[row][block]))]),
    };
  },
});

// -- tuning ----------------------------------------------------------------------------------------

const tunedRows = () => trackNow().rows.filter((row) => row.tuning);
const NOT_TUNED = "Nothing was chosen in this track: its runs have the settings that the suite gives. Choose the tuned track to see trials.";

function ratesText({ chosen: rates }) {
  return rates.map(([rate, times]) => `x${rate}\u00a0(${times})`).join(", ");
}

const trialsTold = el("div");

function drawTuning() {
  const track = trackNow();
  const rows = tunedRows();
  const table = dataTable({
    caption: "Trials of each strategy, what was chosen of them, and what that cost", words: [0, 2, 3], tall: false,
    head: ["strategy", "trials", "rates chosen (times)", "searched with it", "at the edge", "still learning", "diverged", "s, all trials", "s, chosen runs"],
    rows: rows.map(({ label, tuning, spend }) => [
      label, String(tuning.trials), ratesText(tuning), tuning.knob || NOTHING, percent(tuning.edge), percent(tuning.last_epoch),
      String(tuning.diverged), seconds(tuning.seconds), seconds(spend.seconds),
    ]),
  });
  trialsTold.replaceChildren(...(rows.length ? [
    el("p", { class: "intro" }, "Over all blocks of the track. Each run was chosen on validation among its trials, anew for every block, split and seed. Rates: multiples of the protocol's, and how often each was chosen. At the edge: share of choices that fell on the lowest or highest rate that was tried. Still learning: share of chosen runs whose best epoch was the last."),
    track.narrow ? el("div", { class: "banner", role: "note" }, track.narrow) : null,
    el("div", { class: "block" }, table),
  ].filter(Boolean) : [el("p", { class: "none" }, NOT_TUNED)]));
}

const selectedBy = () => {
  const id = tunedRows()[0]?.tuning.metric;
  return page.metrics.find((metric) => metric.id === id)?.title ?? id;
};

function trialValues() {
  return tunedRows().flatMap(({ label, tuning }) =>
    tuning.best_so_far.map((points, n) => ({ name: label, trials: n + 1, value: points / 100, text: metricText(points / 100) })));
}

const byTrials = figure({
  title: "Best so far against number of trials",
  caption: () =>
    tunedRows().length
      ? `${selectedBy()} on validation: the expected value of the best, if so many of the trials, drawn at random with replacement, had been made (Dodge et al. 2019), mean over blocks, splits and seeds. A line that still rises at its end would gain from more trials; where lines cross, who is ahead depends on how many are allowed. Validation chose the runs, so these figures are optimistic.`
      : NOT_TUNED,
  draw: (width, c) => {
    const values = trialValues();
    if (!tunedRows().length) return NOT_TUNED;
    if (values.every((one) => one.trials === 1)) return "No row has two trials or more with a score.";
    const most = Math.max(...values.map((one) => one.trials));
    const x = { field: "trials", type: "quantitative", title: "trials", scale: { domain: [1, most], nice: false, padding: 12 }, axis: { values: Array.from({ length: most }, (_, n) => n + 1), format: "d", grid: false, labelOverlap: true } };
    const y = { field: "value", type: "quantitative", title: `validation ${(tunedRows()[0].tuning.metric).replace(/-/g, " ")}`, scale: { zero: false }, axis: { tickCount: 6, format: ".2f" } };
    return {
      spec: {
        width: width - 4, height: 340, autosize: { type: "fit", contains: "padding" }, data: { values },
        layer: lineLayers(values, x, y, tip(["name", "strategy"], ["trials", "trials"], ["text", "best, expected"]), c, width),
      },
    };
  },
  table: () => {
    const rows = tunedRows();
    const most = Math.max(0, ...rows.map(({ tuning }) => tuning.best_so_far.length));
    return {
      head: ["strategy", ...Array.from({ length: most }, (_, n) => plural(n + 1, "trial"))],
      rows: rows.map(({ label, tuning }) => [label, ...Array.from({ length: most }, (_, n) => (n < tuning.best_so_far.length ? metricText(tuning.best_so_far[n] / 100) : NOTHING))]),
    };
  },
});
