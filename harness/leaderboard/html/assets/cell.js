// One cell: the runs of a row in a block, and what is known of each.

const runNow = () => chosen.run;

function openCell(row, block, run = null, move = true) {
  const runs = runsOf(row, block);
  const best = run ?? runs.find((one) => detailOf(one)) ?? runs[0] ?? null;
  choose({ row, block, run: best });
  if (best !== null) history.replaceState(null, "", hashOf(best));
  if (move) {
    $("cell").scrollIntoView();
    $("cell").focus({ preventScroll: true });
    announce(`${trackNow().rows[row].label} on ${trackNow().blocks[block].label} is open.`);
  }
}

// A run's second place, in another track, is named with the track.
function hashOf(run) {
  const track = run === firstPlaceOf(run) ? "" : `-${page.tracks[columns.track[run]].id}`;
  return `#run-${columns.id[run]}${track}`;
}

function openHash() {
  const run = columns.id.findIndex((_, one) => hashOf(one) === location.hash);
  if (run < 0) return false;
  choose({ track: columns.track[run], ...EVERYTHING });
  openCell(columns.row[run], columns.block[run], run);
  return true;
}

function drawCell() {
  const track = trackNow();
  const { row, block, run } = chosen;
  const runs = runsOf(row, block);
  const pick = (label, id, options, value, pickOne) => select(label, id, options, value, pickOne);
  const focused = document.activeElement?.id;
  $("chooser").replaceChildren(
    pick("Strategy", "cell-row", track.rows.map((one, n) => [n, one.label]), row, (value) => openCell(Number(value), block, null, false)),
    pick("Dataset / backbone", "cell-block", track.blocks.map((one, n) => [n, one.label]), block, (value) => openCell(row, Number(value), null, false)),
    pick(hasSplits ? "Seed and split" : "Seed", "cell-run", runs.map((one) => [one, `${seedText(one)}${detailOf(one) ? "" : " (no details)"}`]), run, (value) => openCell(row, block, Number(value), false)),
  );
  if (["cell-row", "cell-block", "cell-run"].includes(focused)) $(focused).focus();
  $("cell-facts").replaceChildren(...(run === null ? [el("p", { class: "none" }, noRun(row, block))] : runFacts(run)));
  for (const one of cellFigures) one.update();
}

function noRun(row, block) {
  const { label } = trackNow().blocks[block];
  const gap = trackNow().rows[row].gaps.find((one) => one[1] === label);
  return gap ? `No run: ${gap[0]} (seed ${placeText(gap[2], gap[4])}${gap[3] && `: ${gap[3]}`}).` : "No run was asked for here.";
}

function runFacts(run) {
  const error = page.runs.errors[run];
  if (error?.length) {
    const [kind, message, phase, step] = error;
    const where = [phase && `phase ${phase}`, isNumber(step) && `step ${step}`].filter(Boolean).join(", ");
    return [el("p", { class: "none" }, `${coded("status", run)}: ${kind}${where && ` (${where})`}: ${message}`)];
  }
  const reasons = new Map(page.runs.undefined.filter(([one]) => one === run).map(([, metric, reason]) => [metric, reason]));
  const figures = page.metrics.flatMap((metric, n) => {
    if (isNumber(figureOf(run, n))) return [[metric.title, metricText(figureOf(run, n)), n === 0 && isNumber(page.runs.validation[run]) ? `validation ${metricText(page.runs.validation[run])}` : null]];
    return reasons.has(n) ? [[metric.title, "undefined", reasons.get(n)]] : [];
  });
  const cost = [
    ["Time alone", `${seconds(columns.total[run])} s`, `${seconds(columns.train[run])} s of it training`],
    ["Parameters that learn", count(coded("trainable", run)), coded("looks", run) ? `${plural(coded("looks", run), "look")} at gradients` : null],
    ["Peak memory", coded("peak", run) ? `${count(coded("peak", run))}B` : "not measured", isNumber(columns.speed[run]) ? `${count(columns.speed[run])} images/s in training` : null],
    ["Epochs", isNumber(coded("epochs", run)) ? `${coded("epochs", run)} of ${trackNow().epochs}` : NOTHING, coded("stopped", run) ? "patience ran out" : null],
    ["Checkpoint tested", coded("tested", run) || NOTHING],
    ...trialFacts(run),
    ["Run", el("code", {}, columns.id[run])],
  ];
  const { row, block } = chosen;
  const open = `${trackNow().rows[row].label} on ${trackNow().blocks[block].label}, seed ${seedText(run)}`;
  const missing = detailOf(run) ? null : el("p", { class: "none" }, whyNoDetails());
  return [el("h3", {}, open), facts([...figures, ...cost]), missing].filter(Boolean);
}

function trialFacts(run) {
  const trial = page.runs.coded.trial && coded("trial", run);
  if (!trial) return [];
  const settings = trial.settings.map(([name, value]) => `${name} = ${value}`).join(", ");
  return [["Trial chosen on validation", `number ${trial.number}`, settings || "the settings that the suite gives"]];
}

function whyNoDetails() {
  const kept = Object.keys(page.details.runs).length;
  if (!page.details.stored) return "This page was written from the ranked board alone, without histories and predictions.";
  return `The page holds the details of ${kept.toLocaleString("en")} of ${plural(page.details.of, "finished run")}, one seed of every cell first; those of this run are in the results folder, under its id.`;
}

// -- learning curves -----------------------------------------------------------------------------

const OTHERS = hasSplits ? "its other seeds and splits" : "its other seeds";

function curves(run, part, who) {
  const history = detailOf(run)?.history;
  if (!history) return [];
  const phases = history.phases.flatMap(([name, times]) => Array(times).fill(name));
  return history[part].flatMap((value, n) => (isNumber(value) ? [{ epoch: history.epoch?.[n] ?? n + 1, value, who, run, phase: phases[n], text: fixed(value, 3) }] : []));
}

function curveValues(part) {
  const run = runNow();
  if (run === null) return [];
  const { row, block } = chosen;
  const track = trackNow();
  const own = `${track.rows[row].label}, seed ${seedText(run)}`;
  const others = runsOf(row, block).filter((one) => one !== run).flatMap((one) => curves(one, part, OTHERS));
  const control = track.control === null || track.control === row ? undefined : runsOf(track.control, block).find((one) => sameDraw(one, run));
  const base = control === undefined ? [] : curves(control, part, `${controlOf(track).label}, seed ${seedText(run)}`);
  return [...others, ...base, ...curves(run, part, own)];
}

// Where a phase begins: where the one before it ended.
const startsOf = (own) => own.flatMap((one, n) => (n > 0 && one.phase !== own[n - 1].phase ? [{ epoch: own[n - 1].epoch, phase: `${one.phase} begins` }] : []));
const NAMED = 3; // beginnings that are named in the plot: more would cover each other
function phasesText(part) {
  const starts = startsOf(curveValues(part).filter((one) => one.run === runNow()));
  return starts.length ? ` Dotted: ${starts.map((one) => one.phase.replace(/ begins$/, "")).join(", ")} ${starts.length > 1 ? "begin" : "begins"}.` : "";
}

const drawCurves = (part, title) => (width, c) => {
  const values = curveValues(part);
  const own = values.filter((one) => one.run === runNow());
  if (!own.length) return runNow() === null ? "There is no run here." : "No history of this run is in this page.";
  const names = unique(values.map((one) => one.who)).reverse();
  const hue = { [own[0].who]: c.accent, [OTHERS]: c.muted };
  const starts = startsOf(own);
  const x = { field: "epoch", type: "quantitative", title: "epoch", axis: { tickMinStep: 1, grid: false }, scale: { nice: false, zero: false } };
  const y = { field: "value", type: "quantitative", title: title(), scale: { zero: false }, axis: { tickCount: 5 } };
  const color = { field: "who", type: "nominal", title: null, scale: { domain: names, range: names.map((name) => hue[name] ?? c.bad) }, legend: { orient: "top", columns: 1, symbolType: "stroke", symbolStrokeWidth: 3, rowPadding: 1, labelLimit: width - 60 } };
  const opacity = { condition: { test: `datum.who === '${OTHERS}'`, value: 0.45 }, value: 1 };
  return {
    spec: {
      width: width - 4, height: 270, autosize: { type: "fit", contains: "padding" },
      layer: [
        ...(starts.length ? [
          { data: { values: starts }, mark: { type: "rule", strokeDash: [2, 3] }, encoding: { x } },
        ] : []),
        ...(starts.length <= NAMED ? starts : []).map((one, n) => (
          { data: { values: [one] }, mark: { type: "text", align: "left", dx: 4, color: c.muted }, encoding: { x, y: { value: 8 + 14 * n }, text: { field: "phase" } } }
        )),
        { data: { values }, mark: { type: "line", strokeWidth: 2 }, encoding: { x, y, color, detail: { field: "run" }, opacity, strokeDash: { condition: { test: `datum.who !== '${OTHERS}'`, value: [1, 0] }, value: [3, 2] } } },
        { data: { values: own }, mark: { type: "point", size: 40, tooltip: true }, encoding: { x, y, color, tooltip: tip(["phase", "phase"], ["epoch", "epoch"], ["text", "value"]) } },
      ],
    },
  };
};
const curveTable = (part) => () => ({
  head: ["run", "phase", "epoch", "value"], words: [0, 1], rows: curveValues(part).map((one) => [`${one.who} (${short(columns.id[one.run])})`, one.phase, String(one.epoch), one.text]),
});
const scoreTitle = () => `validation ${(trackNow().protocol?.metric ?? "score").replace(/-/g, " ")}`;

const scoreCurve = figure({
  title: "Learning curve: score on validation",
  caption: () => `After each epoch. Model selection sees these figures only, never test.${phasesText("score")}`,
  draw: drawCurves("score", scoreTitle),
  table: curveTable("score"),
});
const lossCurve = figure({
  title: "Learning curve: training loss",
  caption: () => `Mean over the steps of each epoch, penalties included.${phasesText("loss")}`,
  draw: drawCurves("loss", () => "training loss"),
  table: curveTable("loss"),
});
