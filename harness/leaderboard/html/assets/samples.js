// One run on its test images: confusion matrix, recall, calibration, and its block at a glance.

const BINS = 15;

function confusionOf(run) {
  const detail = run === null ? null : detailOf(run);
  if (!detail?.confusion) return null;
  const classes = page.details.classes[detail.classes];
  const counts = detail.confusion.flatMap((number) => (number < 0 ? Array(-number).fill(0) : [number]));
  return { classes, rows: classes.map((_, n) => counts.slice(n * classes.length, (n + 1) * classes.length)) };
}

const whyNoSamples = () => {
  if (runNow() === null) return "There is no run here.";
  if (page.details.unreadable.includes(columns.id[runNow()])) return "The predictions of this run are not those its result was computed from: `harness verify` says more.";
  return page.details.stored && !page.details.predictions ? "This page was written without predictions." : "No predictions of this run are in this page.";
};

// 95 % interval of a share (Wilson 1927).
function wilson(hits, samples) {
  const z2 = 1.959964 ** 2;
  const share = hits / samples;
  const middle = (share + z2 / (2 * samples)) / (1 + z2 / samples);
  const half = (Math.sqrt(1.959964 ** 2 * ((share * (1 - share)) / samples + z2 / (4 * samples ** 2)))) / (1 + z2 / samples);
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

function drawConfusion(width, c) {
  const found = confusionOf(runNow());
  if (!found) return whyNoSamples();
  const { classes, rows } = found;
  const values = rows.flatMap((row, truth) =>
    row.map((times, guess) => {
      const share = sum(row) ? times / sum(row) : 0;
      return { truth: `${classes[truth]}`, guess: `${classes[guess]}`, t: truth, g: guess, times, share, shown: percent(share), label: times ? String(times) : "" };
    }),
  );
  const left = labelWidth(classes, 130) + 24;
  const size = Math.max(18, Math.min(46, (width - left - 16) / classes.length));
  const labels = `[${classes.map((_, n) => n).join(",")}]`;
  const axis = (orient, title, angle) => ({ orient, title, domain: false, ticks: false, labelAngle: angle, labelLimit: 130, labelExpr: "datum.label" });
  const named = (field, title, orient, angle) => ({ field, type: "nominal", sort: null, axis: axis(orient, title, angle) });
  const layer = [
    { mark: { type: "rect", tooltip: true, cornerRadius: 2 },
      encoding: { color: { field: "share", type: "quantitative", scale: { domain: [0, 1], range: [c.middle, c.far_good], interpolate: "lab" }, legend: null }, tooltip: tip(["truth", "true class"], ["guess", "predicted"], ["times", "images"], ["shown", "of the true class"]) } },
  ];
  if (size >= 22 && labels) layer.push({ mark: { type: "text", fontSize: 12 }, encoding: { text: { field: "label" }, color: { value: c.ink } } });
  return {
    marks: values.length * 2,
    spec: {
      data: { values }, width: { step: size }, height: { step: Math.min(size, 34) },
      encoding: { x: named("guess", "predicted class", "bottom", -40), y: named("truth", "true class", "left", 0) }, layer,
    },
  };
}

const recallRows = () => {
  const found = confusionOf(runNow());
  return (found?.classes ?? []).map((name, n) => {
    const [samples, hits] = [sum(found.rows[n]), found.rows[n][n]];
    const interval = samples ? wilson(hits, samples) : null;
    return { name, samples, hits, share: samples ? hits / samples : null, interval };
  });
};

const matrix = figure({
  title: "Confusion matrix",
  caption: () => "Test images of each true class (rows) by predicted class; colour: share of the row.",
  draw: drawConfusion,
  table: () => {
    const { classes, rows } = confusionOf(runNow());
    const shares = recallRows();
    return {
      head: ["true class", ...classes.map((name) => `predicted ${name}`), "recall", "95 % interval (Wilson)"],
      rows: rows.map((row, n) => [classes[n], ...row.map(String), shares[n].share === null ? NOTHING : percent(shares[n].share), shares[n].interval ? shares[n].interval.map(percent).join(" to ") : NOTHING]),
    };
  },
});

function reliabilityRows() {
  const given = runNow() === null ? [] : detailOf(runNow())?.reliability ?? [];
  const total = sum(given.map(([, samples]) => samples));
  return given.map(([bin, samples, hits, confidence]) => {
    const [low, high] = wilson(hits, samples);
    return {
      from: bin / BINS, to: (bin + 1) / BINS, samples, confidence, accuracy: hits / samples, low, high, share: samples / total,
      text: `${hits} of ${samples} right (${percent(hits / samples)})`, interval: `${percent(low)} to ${percent(high)}`, mean: fixed(confidence, 2),
    };
  });
}

const calibrationError = (rows) => sum(rows.map((one) => one.share * Math.abs(one.accuracy - one.confidence)));

function drawReliability(width, c) {
  const values = reliabilityRows();
  if (!values.length) return whyNoSamples();
  const unit = { type: "quantitative", scale: { domain: [0, 1], nice: false }, axis: { format: "%", tickCount: 5 } };
  const x = { ...unit, field: "confidence", title: "confidence" };
  const y = { ...unit, field: "accuracy", title: "share that is right; bars: share of images" };
  const fields = tip(["mean", "mean confidence"], ["text", "right"], ["interval", "95 % interval"], ["samples", "images"]);
  return {
    spec: {
      width: width - 4, height: 320, autosize: { type: "fit", contains: "padding" }, data: { values },
      layer: [
        { mark: { type: "bar", color: c.line, tooltip: true }, encoding: { x: { ...x, field: "from", bin: { binned: true } }, x2: { field: "to" }, y: { ...y, field: "share" }, tooltip: fields } },
        { data: { values: [{ confidence: 0, accuracy: 0 }, { confidence: 1, accuracy: 1 }] }, mark: { type: "line", color: c.muted, strokeDash: [4, 3], strokeWidth: 1.5 }, encoding: { x, y } },
        { mark: { type: "rule", color: c.accent, strokeWidth: 1.5 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" } } },
        { mark: { type: "point", size: 60, tooltip: true }, encoding: { x, y, tooltip: fields } },
      ],
    },
  };
}

const calibration = figure({
  title: "Reliability diagram",
  caption: () => {
    const rows = reliabilityRows();
    const error = rows.length ? ` Expected calibration error ${fixed(calibrationError(rows), 3)} over ${sum(rows.map((one) => one.samples))} test images.` : "";
    return `Points: share of right answers in ${BINS} bins of confidence (the probability of the predicted class), with 95 % intervals (Wilson); on the dashed line confidence is honest.${error}`;
  },
  draw: drawReliability,
  table: () => ({
    head: ["confidence bin", "images", "mean confidence", "right", "95 % interval"],
    rows: reliabilityRows().map((one) => [`${fixed(one.from, 2)} to ${fixed(one.to, 2)}`, String(one.samples), one.mean, one.text, one.interval]),
  }),
});

// -- the chosen block: every strategy against the control ------------------------------------------

function blockRows() {
  const track = trackNow();
  const { block } = chosen;
  const intervals = intervalsNow();
  return track.rows.flatMap((row, number) => {
    const value = difference(number, block);
    if (number === track.control || !isNumber(value)) return [];
    const tested = intervals.get(`${number} ${block}`);
    return [{
      row: number, name: row.label, value, text: `${points(value)} points`, low: tested?.low, high: tested?.high,
      interval: tested ? `${intervalText(tested)}${tested.seeds === 1 ? `, ${ONE_SEED}` : ""}` : "not computed",
      verdict: tested?.verdict ?? "untested", p: tested ? verdictText(tested) : null,
    }];
  });
}

const blockForest = figure({
  title: "This block: every strategy against the control",
  caption: () => {
    const block = trackNow().blocks[chosen.block];
    const own = [...intervalsNow()].find(([key]) => key.endsWith(` ${chosen.block}`))?.[1];
    const tested = own ? `Bars: ${levelText()} intervals over ${basisOf(own, block)}; triangles: decided under the board's error rate of 5 %, which takes three ${repeatsNow()}s.` : "No intervals were computed.";
    return `${block.label}: ${metricNow().title} minus that of ${controlName()}, in points, ${meanOver()}. ${tested}`;
  },
  draw: (width, c) => forest(() => (blockRows().length ? blockRows() : "There is nothing to compare in this block."), { title: "difference (points)", reference: 0 })(width, c),
  table: () => ({ head: ["strategy", "difference", "interval", "verdict"], words: [0, 3], rows: blockRows().map((one) => [one.name, one.text, one.interval, one.p ?? "not tested"]) }),
});

const cellFigures = [blockForest, scoreCurve, lossCurve, matrix, calibration];
