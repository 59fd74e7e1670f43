"""Gains over several splits by plain loops: what statistics are held against."""

import math


def loops(gain):
    """Value, variance and degrees of freedom, by plain loops over lists."""
    added, strata = gain.added.tolist(), gain.strata.tolist()
    number, tested = gain.splits.number.tolist(), gain.splits.tested.tolist()
    share, count = gain.splits.share, len(gain.splits.tested)
    groups = range(len(strata))
    means, weights = [], []
    for split in range(count):
        own = [row for row, where in zip(added, number, strict=True) if where == split]
        weights.append(len(own) / len(added))
        means.append([sum(row[g] for row in own) / len(own) for g in groups])
    value = sum(w * sum(one) for w, one in zip(weights, means, strict=True))
    whole, noise, images_df = [0.0] * len(strata), 0.0, 0
    for split in range(count):
        for klass in set(strata):
            there = [g for g in groups if tested[split][g] and strata[g] == klass]
            level = sum(means[split][g] for g in there) / len(there)
            for g in there:
                centred = (means[split][g] - level) * math.sqrt(len(there) / (len(there) - 1))
                whole[g] += weights[split] * centred
                noise += centred**2 / count
    parts = {tuple(one) for one in tested}
    for klass in set(strata):
        some = [g for g in groups if strata[g] == klass and any(one[g] for one in tested)]
        images_df += len(some) - len(parts)
    images = sum(one**2 for one in whole)
    totals = [sum(one) for one in means]
    mean = sum(totals) / count
    variance = sum((one - mean) ** 2 for one in totals) / (count - 1)
    factor = sum(w * w for w in weights)
    if share is None:
        noise = 0.0
        for g in groups:
            level = sum(one[g] for one in means) / count
            noise += sum((one[g] - level) ** 2 for one in means) / (count - 1)
    else:
        factor += len(added) / (len(added) + count) * share / (1 - share)
    luck = max(0.0, variance - noise) * factor
    total = images + luck
    whole_luck = variance * factor if luck else 0.0
    df = total**2 / (images**2 / images_df + whole_luck**2 / (count - 1))
    return value, total, max(df, min(count - 1, images_df))
