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
const chosen = { track: 0, modality: ALL, backbone: ALL, metric: 0, row: 0, block: 0, run: null };
const listeners = [];
const onChange = (listener) => listeners.push(listener);

function choose(changes) {
  Object.assign(chosen, changes);
  for (const listener of listeners) listener(changes);
}

const trackNow = () => page.tracks[chosen.track];
const metricNow = () => page.metrics[chosen.metric];
const isFiltered = () => chosen.modality !== ALL || chosen.backbone !== ALL;
const isWhole = () => !isFiltered() && chosen.metric === 0;
const controlOf = (track) => (track.control === null ? null : track.rows[track.control]);
const runsOf = (row, block) => trackNow().runs.get(`${row} ${block}`) ?? [];
const isFinished = (run) => coded("status", run) === "ok";
const detailOf = (run) => page.details.runs[run];
const figureOf = (run, metric = chosen.metric) => page.runs.metrics[metric][run];

// Numbers of the blocks that the filters leave.
function blocksNow() {
  return trackNow()
    .blocks.map((block, number) => [block, number])
    .filter(([block]) => chosen.modality === ALL || block.modality === chosen.modality)
    .filter(([block]) => chosen.backbone === ALL || block.backbone === chosen.backbone)
    .map(([, number]) => number);
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
    wanted: sum(blocks.map((block) => track.blocks[block].seeds.length)),
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

// Lowest and highest over seeds of the mean over the chosen blocks; null for a single seed.
function seedRange(number) {
  const perSeed = trackNow().seeds.map((seed) => {
    const values = blocksNow().map((block) => {
      const run = runsOf(number, block).find((one) => columns.seed[one] === seed);
      return run === undefined ? null : figureOf(run);
    });
    return values.length && values.every(isNumber) ? mean(values) : null;
  });
  if (perSeed.length < 2 || !perSeed.every(isNumber)) return null;
  return [Math.min(...perSeed), Math.max(...perSeed)];
}

// Statistics speak of the board's own metric, over all blocks or over one backbone.
function comparisonNow() {
  const given = trackNow().statistics;
  if (!given || chosen.metric !== 0 || chosen.modality !== ALL) return null;
  return given.comparisons.find((one) => one.scope === chosen.backbone) ?? null;
}

// What the intervals of so many seeds hold.
const basisOf = (seeds) => (seeds === 1 ? "test images only" : "other test images and seeds");
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

const intervalText = (one) => `${points(one.low)} to ${points(one.high)}`;
const verdictText = (one) => (one.verdict !== "untested" ? `${one.verdict}, ${pText(one.p)}` : one.seeds < 3 ? "not tested: fewer than three seeds" : "no verdict");
const levelText = () => percent(trackNow().statistics?.level ?? 0.95);
