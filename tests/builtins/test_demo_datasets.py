import hashlib
import io
import json
import random
from collections import Counter

import numpy as np
import pytest
from command import python
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness import Access, Dataset
from harness_demo import DATASETS, harness_datasets
from harness_demo.canvas import SHARES, Draws, Points, develop, rise, stamp, wave
from harness_demo.table import DRAW, encode_png, plan_splits

pytestmark = pytest.mark.slow

BY_NAME = {dataset.name: dataset for dataset in DATASETS}
NAMES = sorted(BY_NAME)
SPLITS = ("train", "validation", "test")
NEAR_CHANCE = 0.12

# sha256 over the decoded pixels of train, validation and test, in order.
GOLDEN = {
    "demo-dermoscopy": "79bd187b06c6a1d6e4f70de7b762a35da3aa833b675c00e399383ab445f56ccf",
    "demo-endoscopy": "8a976aa5185134c07aa8c1a3139fcc3f1b20edd53a4637bd7102846d19f9c750",
    "demo-histology": "f9d9acf63bc80cd06d67c76d2f51738f2cea756c4879879b80c56599dfb9084b",
    "demo-mri": "6f64467f353f2d473cd5b1c7034fbc4a5ad286234dae46878347678af86e5236",
    "demo-xray": "74499c36bf9d797c3ca5237b3622522f55181028fd26e0ff0aaf58d5a7d350e0",
}


@pytest.fixture(scope="module")
def tables():
    return {name: BY_NAME[name].load(Access(offline=True)) for name in NAMES}


@pytest.fixture(scope="module")
def pixels(tables):
    return {
        name: {
            split: [_decode(row["image"]["bytes"]) for row in table] for split, table in of.items()
        }
        for name, of in tables.items()
    }


def _decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def _digest(images_by_split):
    digest = hashlib.sha256()
    for split in SPLITS:
        for image in images_by_split[split]:
            digest.update(image.tobytes())
    return digest.hexdigest()


def test_offers_one_dataset_a_modality():
    offered = list(harness_datasets())
    assert all(isinstance(dataset, Dataset) for dataset in offered)
    assert {dataset.name: dataset.modality for dataset in offered} == {
        "demo-xray": "xray",
        "demo-mri": "mri",
        "demo-histology": "histology",
        "demo-dermoscopy": "dermoscopy",
        "demo-endoscopy": "endoscopy",
    }


@pytest.mark.parametrize("name", NAMES)
def test_declares_itself_procedural(name):
    dataset = BY_NAME[name]
    assert dataset.procedural
    assert dataset.licence == "Apache-2.0"
    assert any("procedural" in problem for problem in dataset.problems)
    assert dataset.source
    assert dataset.groups
    assert 2 <= len(dataset.classes) <= 4
    assert len(dataset.counts) == len(dataset.classes)


@pytest.mark.parametrize("name", NAMES)
def test_tables_have_the_columns_of_real_data(tables, name):
    from datasets import ClassLabel, Image, Value

    assert tuple(tables[name]) == SPLITS
    for table in tables[name].values():
        assert dict(table.features) == {
            "image": Image(decode=False),
            "label": ClassLabel(names=list(BY_NAME[name].classes)),
            "group": Value("string"),
            "id": Value("string"),
        }


@pytest.mark.parametrize("name", NAMES)
def test_every_split_has_the_declared_counts(tables, name):
    counts = dict(enumerate(BY_NAME[name].counts))
    half = {label: count // 2 for label, count in counts.items()}
    assert Counter(tables[name]["train"]["label"]) == counts
    assert Counter(tables[name]["validation"]["label"]) == half
    assert Counter(tables[name]["test"]["label"]) == counts
    assert sum(counts.values()) == 96


def test_exactly_one_dataset_is_imbalanced_and_mildly():
    ratios = {name: max(d.counts) / min(d.counts) for name, d in BY_NAME.items()}
    assert [name for name, ratio in ratios.items() if ratio != 1] == ["demo-dermoscopy"]
    assert ratios["demo-dermoscopy"] < 2


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique_and_name_class_and_number(tables, name):
    names = BY_NAME[name].classes
    ids = [i for split in SPLITS for i in tables[name][split]["id"]]
    assert len(set(ids)) == len(ids)
    for table in tables[name].values():
        for row in table:
            assert row["id"].rsplit("-", 1)[0] == names[row["label"]]
    assert ids[0] == f"{names[0]}-000"


@pytest.mark.parametrize("name", NAMES)
def test_patients_stay_in_one_split_and_one_class(tables, name):
    home = {}
    size = Counter()
    for split, table in tables[name].items():
        for row in table:
            assert home.setdefault(row["group"], (split, row["label"])) == (split, row["label"])
            size[row["group"]] += 1
    assert set(size.values()) == {1, 2, 3}


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.text(alphabet="abc-", min_size=1, max_size=6),
)
def test_plan_gives_every_number_once_and_no_patient_twice(counts, name):
    classes = tuple(f"class{i}" for i in range(len(counts)))
    plan = plan_splits(name, classes, tuple(counts))
    samples = [(split, sample) for split in plan for sample in plan[split]]
    for label, count in enumerate(counts):
        numbers = sorted(s.number for _, s in samples if s.label == label)
        assert numbers == list(range(2 * count + count // 2))
    homes = {(sample.patient, split, sample.label) for split, sample in samples}
    assert len(homes) == len({patient for patient, _, _ in homes})
    assert all(n <= 3 for n in Counter(s.patient for _, s in samples).values())


@pytest.mark.parametrize("name", NAMES)
def test_images_are_64_pixels_grey_or_colour(pixels, name):
    grey = BY_NAME[name].modality in {"xray", "mri"}
    for images in pixels[name].values():
        for image in images:
            assert image.dtype == np.uint8
            assert image.shape == ((64, 64) if grey else (64, 64, 3))
            assert image.std() > 10


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_the_recorded_ones(pixels, name):
    assert _digest(pixels[name]) == GOLDEN[name]


def test_another_process_draws_the_same_bytes(tables):
    script = (
        "import hashlib, json\n"
        "from harness import Access\n"
        "from harness_demo import DATASETS\n"
        "def digest(tables):\n"
        "    h = hashlib.sha256()\n"
        "    for table in tables.values():\n"
        "        for row in table:\n"
        "            h.update(row['image']['bytes'])\n"
        "            h.update((row['id'] + row['group'] + str(row['label'])).encode())\n"
        "    return h.hexdigest()\n"
        "print(json.dumps({d.name: digest(d.load(Access())) for d in DATASETS}))\n"
    )
    out = python("-c", script)
    here = {}
    for name, of in tables.items():
        digest = hashlib.sha256()
        for table in of.values():
            for row in table:
                digest.update(row["image"]["bytes"])
                digest.update((row["id"] + row["group"] + str(row["label"])).encode())
        here[name] = digest.hexdigest()
    assert json.loads(out.stdout.splitlines()[-1]) == here


def test_loading_leaves_global_random_state_alone():
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the legacy state is what must not move
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    BY_NAME["demo-mri"].load(Access())
    after = random.getstate(), np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert before[1][0] == after[1][0]
    assert np.array_equal(before[1][1], after[1][1])
    assert before[1][2:] == after[1][2:]


def test_importing_the_plugin_imports_no_numpy_and_no_datasets():
    script = (
        "import sys, harness_demo\n"
        "bad = {'numpy', 'datasets', 'torch', 'PIL', 'sklearn'} & set(sys.modules)\n"
        "print(*sorted(bad))\n"
    )
    out = python("-c", script)
    assert out.stdout.split() == []


# What a mean colour, a brightness or a histogram can tell.


def _means(images):
    return np.stack([i.reshape(64 * 64, -1).mean(0) for i in images])


def _means_and_spreads(images):
    return np.hstack([_means(images), [i.reshape(64 * 64, -1).std(0) for i in images]])


def _histograms(images):
    """Eight bins a channel."""
    return np.stack(
        [
            np.concatenate(
                [np.bincount(c // 32, minlength=8) / c.size for c in i.reshape(64 * 64, -1).T]
            )
            for i in images
        ]
    )


def _balanced_accuracy(features, train, test):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=5000, class_weight="balanced")
    )
    model.fit(features(train[0]), train[1])
    return balanced_accuracy_score(test[1], model.predict(features(test[0])))


@pytest.mark.parametrize("features", [_means, _means_and_spreads, _histograms])
@pytest.mark.parametrize("name", NAMES)
def test_colour_alone_is_near_chance(tables, pixels, name, features):
    train, test = (
        (pixels[name][split], np.array(tables[name][split]["label"])) for split in ("train", "test")
    )
    chance = 1 / len(BY_NAME[name].classes)
    assert _balanced_accuracy(features, train, test) < chance + NEAR_CHANCE


def test_the_colour_baseline_can_tell_a_brighter_class():
    """The check above has teeth: forty grey levels on one class are found."""
    images, labels = [], []
    for kind, label in (("normal", 0), ("nodules", 1)):
        for number in range(40):
            image = DRAW["xray"](kind, Draws("p", number), Draws(kind, number)).astype(int)
            images.append(np.clip(image + 40 * label, 0, 255).astype(np.uint8))
            labels.append(label)
    labels = np.array(labels)
    half = np.arange(80) % 2 == 0
    train = [i for i, h in zip(images, half, strict=True) if h], labels[half]
    test = [i for i, h in zip(images, half, strict=True) if not h], labels[~half]
    assert _balanced_accuracy(_means, train, test) > 0.5 + NEAR_CHANCE


@pytest.mark.parametrize("name", NAMES)
def test_no_two_patients_look_the_same(tables, pixels, name):
    """Below the correlation at which the split audit joins two images into one group."""
    images, groups = [], []
    for split in SPLITS:
        groups += tables[name][split]["group"]
        images += [i.reshape(64 * 64, -1).mean(1) for i in pixels[name][split]]
    correlation = np.corrcoef(np.stack(images))
    other = np.array(groups)[:, None] != np.array(groups)
    assert correlation[other].max() < 0.98


@pytest.mark.parametrize("name", NAMES)
def test_images_of_a_patient_are_more_alike_than_others_of_the_class(tables, pixels, name):
    """The invented patient is worth a group: its images share colour, tone or anatomy."""
    table = tables[name]["train"]
    features = _means_and_spreads(pixels[name]["train"])
    if name == "demo-xray":
        features = np.stack([i.ravel().astype(float) for i in pixels[name]["train"]])
        features -= features.mean(1, keepdims=True)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    distance = np.linalg.norm(features[:, None] - features, axis=2)
    groups, labels = np.array(table["group"]), np.array(table["label"])
    same = (groups[:, None] == groups) & ~np.eye(len(groups), dtype=bool)
    kin = (labels[:, None] == labels) & (groups[:, None] != groups)
    assert distance[same].mean() < distance[kin].mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_is_not_drawn_is_an_error(name):
    with pytest.raises(KeyError, match="unicorn"):
        DRAW[BY_NAME[name].modality]("unicorn", Draws("p"), Draws("s"))


@pytest.mark.parametrize("name", NAMES)
def test_the_class_changes_the_picture(name):
    modality, kinds = BY_NAME[name].modality, BY_NAME[name].classes
    drawn = {DRAW[modality](kind, Draws("p"), Draws("s")).tobytes() for kind in kinds}
    assert len(drawn) == len(kinds)


# The parts drawings are made of.


@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 2**32 - 1))
def test_png_decodes_to_the_same_pixels(height, width, colour, seed):
    shape = (height, width, 3) if colour else (height, width)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    picture = Image.open(io.BytesIO(encode_png(image)))
    picture.verify()
    assert picture.mode == ("RGB" if colour else "L")
    assert np.array_equal(_decode(encode_png(image)), image)


def test_draws_depend_on_the_whole_key():
    assert np.array_equal(Draws("a", 1).uniform(5), Draws("a", 1).uniform(5))
    firsts = {Draws(*key).one() for key in (("a", 1), ("a", 2), ("b", 1), ("a",), ("a", 1, 0))}
    assert len(firsts) == 5


def test_first_draws_are_the_recorded_ones():
    """PCG64 seeded with the first 16 bytes of the key's sha256."""
    seed = int.from_bytes(hashlib.sha256(b"a/1").digest()[:16], "big")
    expected = np.random.Generator(np.random.PCG64(seed)).random(4)
    assert np.array_equal(Draws("a", 1).uniform(4), expected)
    assert Draws("a", 1).one() == expected[0]


def test_whole_covers_both_ends():
    draws = Draws("whole")
    assert {draws.whole(2, 4) for _ in range(200)} == {2, 3, 4}


def test_directions_are_unit_vectors_all_around():
    cosine, sine = Draws("directions").directions(2000)
    assert np.allclose(cosine * cosine + sine * sine, 1)
    assert abs(cosine.mean()) < 0.06
    assert abs(sine.mean()) < 0.06


@pytest.mark.parametrize("octaves", [1, 3])
def test_noise_is_smooth_and_bounded(octaves):
    field = Draws("noise").noise(4, octaves)
    assert field.shape == (64, 64)
    assert np.abs(field).max() <= 1
    assert field.std() > 0.1
    assert np.abs(np.diff(field, axis=0)).max() < 0.3


def test_wave_is_close_to_the_sine():
    turns = np.linspace(-2, 2, 401)
    assert np.abs(wave(turns) - np.sin(2 * np.pi * turns)).max() < 0.06


def test_rise_goes_either_way():
    field = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert rise(field, 0, 1).tolist() == [0, 0, 0.5, 1, 1]
    assert rise(field, 1, 0).tolist() == [1, 1, 0.5, 0, 0]


def test_stamp_matches_an_ellipse_drawn_point_by_point():
    points = Points(*(np.array(v) for v in ([0.1, 0.98], [-0.2, 0.98], [0.6, 1.0], [0.8, 0.0])))
    long, short, depth = np.array([0.3, 0.2]), np.array([0.15, 0.2]), np.array([0.7, 1.0])
    expected = np.zeros((64, 64))
    for row in range(64):
        for column in range(64):
            x, y = (column + 0.5) / 32 - 1, (row + 0.5) / 32 - 1
            for k in range(2):
                dx, dy = x - points.x[k], y - points.y[k]
                along = (dx * points.cosine[k] + dy * points.sine[k]) / long[k]
                across = (dy * points.cosine[k] - dx * points.sine[k]) / short[k]
                t = np.clip((1.35 - along**2 - across**2) / 0.8, 0, 1)
                expected[row, column] = max(expected[row, column], depth[k] * t * t * (3 - 2 * t))
    assert np.allclose(stamp(points, long, short, depth), expected)


def test_develop_keeps_the_order_and_gives_the_tones():
    tones = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
    field = Draws("field").noise(5, 3)
    developed = develop(field, tones, Draws("tones"), 0.5, 0.1)
    order = np.argsort(field, axis=None)
    assert (np.diff(developed.ravel()[order]) > -1e-3).all()
    quantiles = np.quantile(developed, SHARES)
    assert np.abs(quantiles - (0.5 + 0.1 * np.array(tones))).max() < 0.1 * 0.1 + 0.005


def test_develop_gives_any_two_pictures_the_same_histogram():
    tones = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
    first = develop(Draws("one").noise(3), tones, Draws("tones"), 0.5, 0.1)
    second = develop(Draws("two").noise(20, 2) * 0.1, tones, Draws("tones"), 0.5, 0.1)
    assert np.array_equal(np.sort(first, axis=None), np.sort(second, axis=None))
