// What can be told apart: critical differences, improvement over the control, the heat map.

const VERDICTS = { better: "\u25b2", worse: "\u25bc", undecided: "\u25cb" };
const noStatistics = () =>
  trackNow().statistics
    ? "Tests were made on the board's own metric, over all blocks and per backbone: choose that metric and all modalities to see them."
    : "No tests were computed for this track when this page was written.";

// -- critical differences ------------------------------------------------------------------------

// Mean ranks, best first: those that were tested, or the table's where nothing was.
function ranksNow() {
  const tested = comparisonNow();
  const found = tested ? tested.ranks : standings().filter((one) => isNumber(one.rank)).map((one) => [one.number, one.rank]);
  return found.map(([row, rank]) => ({ row, rank, name: trackNow().rows[row].label })).sort((a, b) => a.rank - b.rank || a.name.localeCompare(b.name));
}

function criticalCaption() {
  const tested = comparisonNow();
  if (!tested) return `Mean ranks over ${plural(blocksNow().length, "block")}, 1 is best. ${noStatistics()}`;
  const [statistic, p] = tested.friedman;
  const over = tested.scope ? `the ${tested.blocks} blocks of ${tested.scope}` : plural(tested.blocks, "block");
  return `Mean ranks over ${over}, 1 is best. Strategies under a common bar are no further apart than the critical difference (CD) of ${fixed(tested.difference, 2)} ranks (Nemenyi, ${levelText()}). Friedman: chi-square ${fixed(statistic, 1)}, ${pText(p)}. ${tested.note}`;
}

// As Demsar draws it, with all names on one side: stems go down from the axis, in order of rank, and
// never cross.
function drawCritical(width, c) {
  const ranks = ranksNow();
  if (ranks.length < 2) return "Fewer than two strategies are ranked here.";
  const tested = comparisonNow();
  const cliques = (tested?.cliques ?? []).map((clique) => clique.map((row) => ranks.find((one) => one.row === row).rank));
  const [axis, step, line] = [tested ? 46 : 22, 12, 25];
  const top = axis + 16 + cliques.length * step;
  const height = top + ranks.length * line;
  const left = labelWidth(ranks.map((one) => one.name)) + 54;
  const most = ranks.length;
  const bars = cliques.map((clique, n) => ({ from: Math.min(...clique) - 0.06, to: Math.max(...clique) + 0.06, y: axis + 16 + n * step, size: clique.length }));
  const stems = ranks.map((one, n) => ({ ...one, y: top + n * line + 6, axis, text: rankText(one.rank) }));
  const ticks = Array.from({ length: most }, (_, n) => ({ rank: n + 1, y: axis, end: axis - 6 }));
  const x = { field: "rank", type: "quantitative", scale: { domain: [1, most], nice: false, zero: false }, axis: null };
  const y = { field: "y", type: "quantitative", scale: { domain: [0, height], range: [0, height], nice: false }, axis: null };
  const at = (field) => ({ ...x, field });
  const layers = [
    { data: { values: [{ rank: 1, to: most, y: axis }] }, mark: { type: "rule", color: c.muted, strokeWidth: 1.5 }, encoding: { x, x2: { field: "to" }, y } },
    { data: { values: [{ y: axis, text: "mean rank" }] }, mark: { type: "text", align: "right", dx: -8, color: c.muted }, encoding: { x: { value: 0 }, y, text: { field: "text" } } },
    { data: { values: ticks }, mark: { type: "rule", color: c.muted }, encoding: { x, y, y2: { field: "end" } } },
    { data: { values: ticks }, mark: { type: "text", dy: -15, color: c.muted }, encoding: { x, y, text: { field: "rank" } } },
    { data: { values: stems }, mark: { type: "rule", color: c.muted, strokeWidth: 1 }, encoding: { x, y, y2: { field: "axis" } } },
    { data: { values: stems }, mark: { type: "rule", color: c.muted, strokeWidth: 1 }, encoding: { x, x2: { value: 0 }, y } },
    { data: { values: stems }, mark: { type: "point", size: 46, color: c.accent, tooltip: true }, encoding: { x, y, tooltip: tip(["name", "strategy"], ["text", "mean rank"]) } },
    { data: { values: stems }, mark: { type: "text", align: "right", dx: -48, limit: left - 48, fontWeight: 500 }, encoding: { x: { value: 0 }, y, text: { field: "name" } } },
    { data: { values: stems }, mark: { type: "text", align: "right", dx: -8, color: c.muted }, encoding: { x: { value: 0 }, y, text: { field: "text" } } },
  ];
  if (bars.length) {
    layers.push({ data: { values: bars }, mark: { type: "rule", color: c.ink, strokeWidth: 5, strokeCap: "round" }, encoding: { x: at("from"), x2: { field: "to" }, y } });
  }
  if (tested && 1 + tested.difference <= most) {
    const scale = [{ rank: 1, to: 1 + tested.difference, y: 12, text: `CD ${fixed(tested.difference, 2)}` }];
    layers.push(
      { data: { values: scale }, mark: { type: "rule", color: c.accent, strokeWidth: 3 }, encoding: { x, x2: { field: "to" }, y } },
      { data: { values: scale }, mark: { type: "text", align: "left", dx: 8, color: c.accent }, encoding: { x: at("to"), y, text: { field: "text" } } },
    );
  }
  return { spec: { width: width - left - 16, height, padding: { left, right: 16, top: 4, bottom: 4 }, autosize: "none", layer: layers } };
}

const critical = figure({
  title: "Critical-difference diagram",
  caption: criticalCaption,
  draw: drawCritical,
  table: () => {
    const cliques = comparisonNow()?.cliques ?? [];
    return {
      head: ["strategy", "mean rank", "not told apart from"],
      words: [0, 2],
      rows: ranksNow().map(({ row, rank, name }) => {
        const same = unique(cliques.filter((clique) => clique.includes(row)).flat()).filter((other) => other !== row);
        return [name, rankText(rank), comparisonNow() ? same.map((other) => trackNow().rows[other].label).join(", ") || "nobody" : NOTHING];
      }),
    };
  },
});

// -- over the control: probability of improvement, share of blocks won -----------------------------

const forest = (rows, { title, domain, reference, format }) => (width, c) => {
  const values = rows();
  if (typeof values === "string") return values;
  const x = { field: "value", type: "quantitative", title, scale: { domain: domain ?? reach(values), nice: false, zero: false }, axis: { format, tickCount: 5 } };
  const y = { field: "name", type: "nominal", title: null, sort: null, axis: { labelColor: c.ink, labelLimit: 160, labelPadding: 8, domain: false, ticks: false } };
  const hue = { condition: [{ test: "datum.verdict === 'better'", value: c.good }, { test: "datum.verdict === 'worse'", value: c.bad }], value: c.muted };
  const known = values.filter((one) => isNumber(one.low));
  const fields = tip(["name", "strategy"], ["text", "value"], ["interval", "interval"], ...(values[0]?.p ? [["p", "p (Holm)"]] : []));
  const shape = { field: "verdict", type: "nominal", legend: null, scale: { domain: ["better", "worse", "undecided"], range: ["triangle-up", "triangle-down", "circle"] } };
  return {
    spec: {
      width: width - 4, height: values.length * 24 + 52, autosize: { type: "fit", contains: "padding" },
      data: { values },
      layer: [
        { data: { values: [{ reference }] }, mark: { type: "rule", strokeDash: [4, 3] }, encoding: { x: { field: "reference", type: "quantitative" } } },
        ...(known.length ? [{ data: { values: known }, mark: { type: "rule", strokeWidth: 2, clip: true }, encoding: { x: { ...x, field: "low" }, x2: { field: "high" }, y, color: hue } }] : []),
        { mark: { type: "point", size: 90, tooltip: true }, encoding: { x, y, color: hue, shape, tooltip: fields } },
      ],
    },
  };
};

// From the lowest end to the highest, and a little more; an interval that leaves what is possible,
// as two seeds may give, is cut off there.
function reach(values) {
  const ends = values.flatMap((one) => [one.low ?? one.value, one.high ?? one.value, 0]);
  const [low, high] = [Math.max(-100, Math.min(...ends)), Math.min(100, Math.max(...ends))];
  const edge = (high - low) * 0.04 || 1;
  return [low - edge, high + edge];
}

function overControl(part, text) {
  const given = isWhole() ? trackNow().statistics?.[part] ?? [] : [];
  return given
    .map(text)
    .map((one) => ({ ...one, name: trackNow().rows[one.row].label, verdict: side(one) }))
    .sort((a, b) => b.value - a.value);
}

// By the interval alone: whether it leaves one half out.
const side = ({ low, high }) => (isNumber(low) && low > 0.5 ? "better" : isNumber(high) && high < 0.5 ? "worse" : "undecided");
const withInterval = (row, value, low, high, format) => ({
  row, value, low, high, text: format(value), interval: isNumber(low) ? `${format(low)} to ${format(high)}` : "one seed: none",
});
const improvementRows = () => overControl("improvement", ([row, ...given]) => withInterval(row, ...given, (value) => fixed(value, 2)));
const winRows = () =>
  overControl("wins", ([row, wins, losses, cells, share, low, high, least]) => ({
    ...withInterval(row, share, low, high, percent), text: `${wins} of ${cells} (${percent(share)})`, wins, losses, cells, least,
  }));
const orWhy = (rows) => () => {
  const found = rows();
  if (found.length) return found;
  return trackNow().statistics && !isWhole() ? "Computed over all blocks on the board's own metric: choose Show all to see it." : noStatistics();
};
const controlName = () => controlOf(trackNow())?.label ?? page.control;
const intervalTable = (rows) => () => ({
  head: ["strategy", "value", "interval"], words: [0], rows: rows().map((one) => [one.name, one.text, one.interval]),
});

const improvement = figure({
  title: "Probability of improvement",
  caption: () => `Chance that a run of a strategy beats one of ${controlName()} in the same block, mean over blocks; a tie counts one half. Bars: ${levelText()} intervals over seeds; without a bar: one seed. Dashed: no improvement.`,
  draw: forest(orWhy(improvementRows), { title: "probability", domain: [0, 1], reference: 0.5, format: ".1f" }),
  table: intervalTable(improvementRows),
});
const wins = figure({
  title: "Share of blocks won",
  caption: () => `Blocks in which a strategy beats ${controlName()} by more than a point. Bars: exact ${levelText()} intervals (Clopper-Pearson). Dashed: half of the blocks.`,
  draw: forest(orWhy(winRows), { title: "share of blocks won", domain: [0, 1], reference: 0.5, format: "%" }),
  table: intervalTable(winRows),
});
