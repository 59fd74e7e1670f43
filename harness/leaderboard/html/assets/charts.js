// What can be told apart: critical differences, improvement over the control, the heat map.

const VERDICTS = { better: "\u25b2", worse: "\u25bc", undecided: "\u25cb", untested: "\u25cb" };
const noStatistics = () =>
  trackNow().statistics
    ? `Tests were made on the board's own metric, over all blocks and per backbone${hasStarts(trackNow()) ? " or starting point" : ""}: choose that metric and Show all to see them.`
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
  if (!tested) return `Mean ranks over ${plural(blocksNow().length, "block")}, 1 is best. ${noStatistics()} ${filterText()}`.trim();
  const [statistic, p] = tested.friedman;
  const over = `${plural(tested.blocks, "dataset")}${tested.scope ? ` with ${tested.scope}` : ", mean over backbones"}`;
  return `A description: mean ranks over ${over}, 1 is best. Strategies under a common bar are no further apart than the critical difference (CD) of ${fixed(tested.difference, 2)} ranks (Nemenyi, ${levelText()}). Friedman: chi-square ${fixed(statistic, 1)}, ${pText(p)}. ${tested.note} ${filterText()}`.trim();
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

// -- over the control: average gains, places ------------------------------------------------------

const forest = (rows, { title, domain, reference, format }) => (width, c) => {
  const values = rows();
  if (typeof values === "string") return values;
  const x = { field: "value", type: "quantitative", title, scale: { domain: domain ?? reach(values), nice: false, zero: false }, axis: { format, tickCount: 5 } };
  const y = { field: "name", type: "nominal", title: null, sort: null, axis: { labelColor: c.ink, labelLimit: 160, labelPadding: 8, domain: false, ticks: false } };
  const hue = { condition: [{ test: "datum.verdict === 'better'", value: c.good }, { test: "datum.verdict === 'worse'", value: c.bad }], value: c.muted };
  const known = values.filter((one) => isNumber(one.low));
  const fields = tip(["name", "strategy"], ["text", "value"], ["interval", "interval"], ...(values[0]?.p ? [["p", "verdict"]] : []));
  const shape = { field: "verdict", type: "nominal", legend: null, scale: { domain: ["better", "worse", "undecided", "untested"], range: ["triangle-up", "triangle-down", "circle", "circle"] } };
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

function gainRows(scope) {
  return [...averagesNow(scope)]
    .map(([row, one]) => ({
      ...one, row, name: trackNow().rows[row].label, text: `${points(one.value)} points`, interval: intervalText(one), p: verdictText(one),
    }))
    .sort((a, b) => b.value - a.value);
}

const controlName = () => controlOf(trackNow())?.label ?? page.control;
function whyNoGains(scope) {
  const given = trackNow().statistics;
  if (!given) return noStatistics();
  if (isFiltered()) return "Computed over all blocks: choose Show all to see it.";
  if (scope === "general" && chosen.metric !== 0) return "Computed on the board's own metric only.";
  if (scope === "general" && given.datasets < 4) return `${plural(given.datasets, "dataset")}: nothing can be said of others. It takes four.`;
  return "Not computed for this metric.";
}
const gainFigure = (scope, title, caption) =>
  figure({
    title,
    caption,
    draw: forest(() => (gainRows(scope).length ? gainRows(scope) : whyNoGains(scope)), { title: "average gain (points)", reference: 0 }),
    table: () => ({
      head: ["strategy", "average gain", "interval", "verdict"], words: [0, 3],
      rows: gainRows(scope).map((one) => [one.name, one.text, one.interval, one.p]),
    }),
  });

const theseGains = gainFigure("these", "Average gain on these datasets", () => {
  const given = trackNow().statistics;
  const seeds = gainRows("these")[0]?.seeds;
  const over = given ? ` over ${controlName()} in these ${plural(given.cells, "block")} of ${plural(given.datasets, "dataset")}` : "";
  const holds = seeds ? ` Bars: ${levelText()} intervals over ${basisNow()}${seeds === 1 ? ": they hold nothing of what another seed would have changed" : ""}.` : "";
  const said = seeds < 3 ? ` Nothing is decided on fewer than three ${repeatsNow()}s.` : chosen.metric === 0 ? " Triangles: decided; where no strategy differed, at most 5 % of boards would decide anything." : " No verdicts on this metric.";
  return `${metricNow().title}: average gain${over}, positive is better.${holds}${said}`;
});
const generalGains = gainFigure("general", "Average gain on datasets in general", () =>
  `The same on datasets like these. Bars: ${levelText()} intervals; they hold how much gains vary from dataset to dataset. Decided only where these datasets decide, too.`);

const places = figure({
  title: "Places by average",
  caption: () => {
    const given = trackNow().statistics;
    const only = given && basisNow() === ONE_SEED ? " Of one seed: over test images only." : "";
    return `The places that each strategy may have by its average score, 1 is best; all of them are right in ${levelText()}. Filled: on these datasets; line: on datasets in general.${only}`;
  },
  draw: (width, c) => {
    const given = isWhole() ? trackNow().statistics?.ranks ?? [] : [];
    if (!given.length) return isWhole() ? noStatistics() : "Computed over all blocks on the board's own metric: choose Show all to see it.";
    const values = given.map(([row, own, beyond]) => ({
      name: trackNow().rows[row].label, low: own[0] - 0.2, high: own[1] + 0.2, from: beyond ? beyond[0] - 0.2 : null, to: beyond ? beyond[1] + 0.2 : null,
      these: own.join(" to "), general: beyond ? beyond.join(" to ") : "not known",
    }));
    const x = { type: "quantitative", title: "place", scale: { domain: [0.5, values.length + 0.5], nice: false, zero: false }, axis: { values: values.map((_, n) => n + 1), format: "d" } };
    const y = { field: "name", type: "nominal", title: null, sort: null, axis: { labelColor: c.ink, labelLimit: 160, labelPadding: 8, domain: false, ticks: false } };
    const tooltip = tip(["name", "strategy"], ["these", "these datasets"], ["general", "datasets in general"]);
    const wide = values.filter((one) => isNumber(one.from));
    return {
      spec: {
        width: width - 4, height: values.length * 24 + 52, autosize: { type: "fit", contains: "padding" },
        layer: [
          ...(wide.length ? [{ data: { values: wide }, mark: { type: "rule", strokeWidth: 2, color: c.muted }, encoding: { x: { ...x, field: "from" }, x2: { field: "to" }, y } }] : []),
          { data: { values }, mark: { type: "bar", height: 10, color: c.accent, cornerRadius: 3, tooltip: true }, encoding: { x: { ...x, field: "low" }, x2: { field: "high" }, y, tooltip } },
        ],
      },
    };
  },
  table: () => ({
    head: ["strategy", "these datasets", "datasets in general"], words: [0],
    rows: (isWhole() ? trackNow().statistics?.ranks ?? [] : []).map(([row, own, beyond]) => [trackNow().rows[row].label, own.join(" to "), beyond ? beyond.join(" to ") : NOTHING]),
  }),
});
