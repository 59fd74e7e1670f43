// The data of the page, what of it is chosen, and what follows from the choice.

const page = JSON.parse($("data").textContent);
const columns = page.runs.columns;
function coded(name, run) {
  const { values, codes } = page.runs.coded[name];
  return values[codes === null ? 0 : codes[run]];
}

// Names that differ in invisible characters only read alike: plots need them apart.
function distinct(items) {
  const seen = new Map();
  for (const item of items) {
    const times = (seen.get(item.label) ?? 0) + 1;
    seen.set(item.label, times);
    if (times > 1) item.label = `${item.label} (${times})`;
  }
}
for (const track of page.tracks) {
  distinct(track.rows);
  distinct(track.blocks);
  track.runs = new Map();
}
columns.id.forEach((_, run) => {
  const track = page.tracks[columns.track[run]];
  const key = `${columns.row[run]} ${columns.block[run]}`;
  if (!track.runs.has(key)) track.runs.set(key, []);
  track.runs.get(key).push(run);
});

const ALL = "";
const ALL_LABELS = "all labels";
// `datasets`: the names of the chosen ones, or ALL.
const EVERYTHING = { datasets: ALL, modality: ALL, backbone: ALL, start: ALL, labels: ALL };
const chosen = { track: 0, ...EVERYTHING, metric: 0, row: 0, block: 0, run: null };
const listeners = [];
const onChange = (listener) => listeners.push(listener);

function choose(changes) {
  Object.assign(chosen, changes);
  for (const listener of listeners) listener(changes);
}

const trackNow = () => page.tracks[chosen.track];
const metricNow = () => page.metrics[chosen.metric];
const isFiltered = () => Object.keys(EVERYTHING).some((name) => chosen[name] !== ALL);
const isWhole = () => !isFiltered() && chosen.metric === 0;
const controlOf = (track) => (track.control === null ? null : track.rows[track.control]);
const runsOf = (row, block) => trackNow().runs.get(`${row} ${block}`) ?? [];
const isFinished = (run) => coded("status", run) === "ok";
// A run may stand in two tracks, chosen and untuned: its details are those of its first place.
const firstPlaces = new Map();
columns.id.forEach((id, run) => firstPlaces.has(id) || firstPlaces.set(id, run));
const firstPlaceOf = (run) => firstPlaces.get(columns.id[run]);
const detailOf = (run) => page.details.runs[firstPlaceOf(run)];
const figureOf = (run, metric = chosen.metric) => page.runs.metrics[metric][run];

// -- splits: runs of one seed on several are told apart by both ------------------------------------

const hasSplits = columns.split_seed !== undefined;
const splitOf = (run) => (hasSplits ? columns.split_seed[run] : 0);
const placeText = (seed, split) => (hasSplits || split ? `${seed}, split ${split ?? 0}` : String(seed));
const seedText = (run) => placeText(columns.seed[run], splitOf(run));
const pairsOf = (block) => block.pairs ?? block.seeds.map((seed) => [0, seed]);
const sameDraw = (one, other) => columns.seed[one] === columns.seed[other] && splitOf(one) === splitOf(other);
const drawsOf = (blocks) => unique(blocks.flatMap(pairsOf).map(String)).map((pair) => pair.split(",").map(Number));

// As the other formats say it: how many splits there are, and which seeds are on which.
function splitsText(track) {
  const draws = drawsOf(track.blocks);
  if (!hasSeveral(track.blocks)) return "";
  const splits = unique(draws.map(([split]) => split)).length;
  return draws.length === unique(draws.map(([, seed]) => seed)).length ? ", each on a split of its own" : `, each on ${splits} splits`;
}

const hasStarts = (track) => track.blocks.some((block) => block.start);
const datasetsOf = (track) => unique(track.blocks.map((block) => block.dataset)).sort();
const isShown = (dataset) => chosen.datasets === ALL || chosen.datasets.includes(dataset);

// Numbers of the blocks that the filters leave.
function blocksNow(labels = chosen.labels) {
  return trackNow()
    .blocks.map((block, number) => [block, number])
    .filter(([block]) => isShown(block.dataset))
    .filter(([block]) => chosen.modality === ALL || block.modality === chosen.modality)
    .filter(([block]) => chosen.backbone === ALL || block.backbone === chosen.backbone)
    .filter(([block]) => chosen.start === ALL || block.start === chosen.start)
    .filter(([block]) => labels === ALL || (block.labels ?? ALL_LABELS) === labels)
    .map(([, number]) => number);
}

// What the filters leave, in words; empty: everything.
function filterText(labels = chosen.labels) {
  const parts = [
    chosen.datasets === ALL ? "" : `${chosen.datasets.length} of ${plural(datasetsOf(trackNow()).length, "dataset")} (${list(chosen.datasets) || "none"})`,
    chosen.modality === ALL ? "" : `modality ${chosen.modality}`,
    chosen.backbone === ALL ? "" : `backbone ${chosen.backbone}`,
    chosen.start === ALL ? "" : `start ${chosen.start}`,
    labels === ALL ? "" : `label budget ${labels}`,
  ].filter(Boolean);
  return parts.length ? `Shown: ${parts.join(", ")}.` : "";
}

function difference(row, block) {
  const { values } = trackNow().cells[chosen.metric];
  const base = trackNow().control === null ? null : values[trackNow().control][block];
  const value = values[row][block];
  return isNumber(value) && isNumber(base) ? Number(((value - base) * 100).toFixed(4)) : null;
}

// 1: the difference is in the metric's favour, -1: against it, 0: within a point, or nobody knows.
function favour(points) {
  if (metricNow().higher === null || Math.abs(points) <= 1) return 0;
  return points > 0 === metricNow().higher ? 1 : -1;
}

// A row over the chosen blocks.  Without a choice these are the board's own figures.
function standing(number) {
  const track = trackNow();
  const row = track.rows[number];
  const cells = track.cells[chosen.metric];
  const blocks = blocksNow();
  const complete = track.blocks.every((_, block) => isNumber(cells.values[number][block]));
  const runs = blocks.flatMap((block) => runsOf(number, block)).filter(isFinished);
  const found = {
    row, number, complete, blocks, runs,
    wanted: sum(blocks.map((block) => pairsOf(track.blocks[block]).length)),
    defined: runs.filter((run) => isNumber(figureOf(run))).length,
    value: null, rank: null, difference: null, won: null,
    seconds: null,
    trainable: runs.length ? runs.map((run) => coded("trainable", run)) : null,
  };
  if (runs.length && !runs.some((run) => coded("packed", run))) {
    found.seconds = median(runs.map((run) => columns.total[run]));
  }
  if (!complete || !blocks.length) return found;
  found.value = mean(blocks.map((block) => cells.values[number][block]));
  const ranks = blocks.map((block) => cells.ranks[number][block]);
  if (ranks.every(isNumber)) found.rank = mean(ranks);
  const gains = blocks.map((block) => difference(number, block));
  if (number !== track.control && gains.every(isNumber)) {
    found.difference = mean(gains);
    const signs = gains.map(favour);
    if (metricNow().higher !== null) found.won = [1, 0, -1].map((sign) => signs.filter((one) => one === sign).length);
  }
  return isWhole() ? asRanked(found) : found;
}

function asRanked(found) {
  const { row } = found;
  return {
    ...found,
    value: row.value,
    rank: row.mean_rank,
    difference: row.contrast?.difference ?? null,
    won: row.contrast && [row.contrast.better, row.contrast.equal, row.contrast.worse],
    defined: row.runs,
    wanted: row.wanted,
    seconds: row.ranked ? row.spend.median_seconds : null,
  };
}

const standings = () => trackNow().rows.map((_, number) => standing(number));

// Lowest and highest over seeds and splits of the mean over the chosen blocks; null for a single one.
function seedRange(number) {
  const perSeed = drawsOf(trackNow().blocks).map(([split, seed]) => {
    const values = blocksNow().map((block) => {
      const run = runsOf(number, block).find((one) => columns.seed[one] === seed && splitOf(one) === split);
      return run === undefined ? null : figureOf(run);
    });
    return values.length && values.every(isNumber) ? mean(values) : null;
  });
  if (perSeed.length < 2 || !perSeed.every(isNumber)) return null;
  return [Math.min(...perSeed), Math.max(...perSeed)];
}

// Statistics speak of the board's own metric, over all blocks, over one backbone or over one start.
function comparisonNow() {
  const given = trackNow().statistics;
  const named = chosen.backbone === ALL ? "start" : "backbone";
  const others = Object.keys(EVERYTHING).filter((name) => name !== named);
  const scope = named === "backbone" || chosen.start === ALL ? chosen.backbone : `start ${chosen.start}`;
  if (!given || chosen.metric !== 0 || others.some((name) => chosen[name] !== ALL)) return null;
  return given.comparisons.find((one) => one.scope === scope) ?? null;
}

// Runs repeat over splits where there are several, else over seeds: what a block's statistics count.
const hasSeveral = (blocks) => unique(drawsOf(blocks).map(([split]) => split)).length > 1;
const repeatsNow = () => (hasSeveral(trackNow().blocks) ? "split" : "seed");

// What intervals hold: those over all blocks, and those of one.
const ONE_SEED = "test images only";
const SEVERAL = { "images and seeds": "other test images and seeds", "images, seeds and splits": "other test images, seeds and splits" };
const basisNow = () => SEVERAL[trackNow().statistics.basis] ?? ONE_SEED;
const basisOf = (one, block) => (one.seeds === 1 ? ONE_SEED : SEVERAL[hasSeveral([block]) ? "images, seeds and splits" : "images and seeds"]);
const turned = () => (metricNow().higher === false ? -1 : 1);

// A gain in points, raw, of [gain, low, high, p, verdict, seeds]; the statistics' gains are better
// when positive, whatever the metric.
function judged([value, low, high, p, verdict, seeds], sign = 1) {
  const ends = [sign * low, sign * high].sort((a, b) => a - b);
  return { value: sign * value, low: ends[0], high: ends[1], p, verdict, seeds };
}

// row -> block -> a judged difference to the control.
function intervalsNow() {
  const found = new Map();
  if (chosen.metric !== 0) return found;
  for (const [row, block, ...given] of trackNow().statistics?.differences ?? []) {
    found.set(`${row} ${block}`, judged(given, turned()));
  }
  return found;
}

// row -> its average gain over all blocks, positive is better; `scope`: "these" datasets or
// "general".  Of another metric than the board's there is one over these datasets.
function averagesNow(scope) {
  const given = trackNow().statistics;
  if (!given || isFiltered()) return new Map();
  const own = chosen.metric === 0 ? given.averages[scope] : scope === "these" ? given.others[metricNow().id] ?? [] : [];
  return new Map(own.map(([row, ...one]) => [row, judged(one)]));
}

const meanOver = () => (repeatsNow() === "split" ? "mean over splits and seeds" : "mean over seeds");
const intervalText = (one) => `${points(one.low)} to ${points(one.high)}`;
const verdictText = (one) => (one.verdict !== "untested" ? `${one.verdict}, ${pText(one.p)}` : one.seeds < 3 ? `not tested: fewer than three ${repeatsNow()}s` : "no verdict");
const levelText = () => percent(trackNow().statistics?.level ?? 0.95);
