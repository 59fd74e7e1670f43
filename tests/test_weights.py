"""Starting weights: found, checked, fitted; and every way they can be wrong."""

import hashlib
import http.server
import importlib
import os
import threading
import time
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from harness import Backbone, Weights, WeightsError
from harness.weights import availability, find_weights, load_weights, read_tensors

OFFERED = {
    backbone.name: backbone
    for plugin in ("harness_resnet", "harness_densenet", "harness_vgg")
    for backbone in importlib.import_module(plugin).harness_backbones()
}
MINIATURES = ("resnet50-mini", "densenet121-mini", "vgg19-mini")
RESNET = OFFERED["resnet50-mini"]
DENSENET = OFFERED["densenet121-mini"]
VGG = OFFERED["vgg19-mini"]


def published_state(backbone: Backbone, classes: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """The content of a file of this network, in torchvision's names."""
    torch.manual_seed(seed)
    state = backbone.build(classes).state_dict()
    return {backbone.published_name(name): tensor.clone() for name, tensor in state.items()}


def published_chain(backbone: Backbone, classes: int = 6) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return backbone.build(classes).state_dict()


def write(path: Path, state: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def loaded(backbone: Backbone, folder: Path, classes: int = 4):
    return load_weights(backbone, classes, find_weights(backbone, folder))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty checkpoint folder of torch.hub, and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", refuse)
    return tmp_path / "hub" / "checkpoints"


class Publisher:
    """A web server with one file, in the way of torchvision's; `cut`: what lies beyond never comes."""

    def __init__(self, content: bytes, prefix: str) -> None:
        self.content, self.cut, self.asked = content, None, []
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                first = int((self.headers["Range"] or "bytes=0-")[6:-1])
                publisher.asked.append(first)
                rest = publisher.content[first:]
                if not rest:
                    self.send_error(416)
                    return
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(rest)))
                end = len(publisher.content)
                if first:
                    self.send_header("Content-Range", f"bytes {first}-{end - 1}/{end}")
                self.end_headers()
                self.wfile.write(publisher.content[first : publisher.cut])

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/densenet121-{prefix}.pth"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Weights to be had from a server of the test's, their content and where they will lie."""
    path = write(tmp_path / "made.pth", published_state(DENSENET))
    content = path.read_bytes()
    made = Publisher(content, hashlib.sha256(content).hexdigest()[:8])
    known = type("Known", (), {"url": made.url, "meta": {"_file_size": 1.0}})
    monkeypatch.setattr(torchvision.models, "get_weight", lambda _: known)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    made.place = tmp_path / "hub" / "checkpoints" / made.url.rpartition("/")[2]
    made.part = made.place.with_name(f"{made.place.name}.part")
    yield made
    made.server.shutdown()
    made.server.server_close()


class TestFind:
    def test_none(self):
        assert find_weights(RESNET, "none") is None

    @pytest.mark.parametrize("name", MINIATURES)
    def test_packaged(self, name):
        backbone = OFFERED[name]
        file = find_weights(backbone)
        assert file == find_weights(backbone, "default")
        assert file.path.name == f"{name}.safetensors"
        assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
        assert file.sha256 == backbone.weights.sha256
        assert file.miniature

    def test_packaged_sizes(self):
        assert sum(find_weights(OFFERED[name]).path.stat().st_size for name in MINIATURES) < 4e6

    def test_packaged_file_that_was_changed(self, tmp_path):
        path = write(tmp_path / "a.safetensors", published_state(RESNET))
        backbone = RESNET.model_copy(
            update={"weights": Weights(name="a", file=str(path), sha256="0" * 64)}
        )
        with pytest.raises(WeightsError, match=r"a\.safetensors has sha256 .* expected 000"):
            find_weights(backbone)

    def test_packaged_file_that_is_gone(self, tmp_path):
        gone = Weights(name="a", file=str(tmp_path / "a.safetensors"))
        backbone = RESNET.model_copy(update={"weights": gone})
        with pytest.raises(WeightsError, match=r"a\.safetensors.*is missing: install the plugin"):
            find_weights(backbone)
        assert "install the plugin" in availability(backbone).problem

    @pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pth.tar"])
    def test_folder(self, tmp_path, ending):
        path = write(tmp_path / f"resnet50{ending}", published_state(RESNET))
        found = find_weights(OFFERED["resnet50"], tmp_path)
        assert found.path == path
        assert found.declared == Weights(name=path.name)
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert find_weights(OFFERED["resnet50"], str(tmp_path)) == found

    def test_folder_safetensors_come_first(self, tmp_path):
        for ending in (".pt", ".pth", ".safetensors"):
            write(tmp_path / f"resnet50{ending}", {"a": torch.zeros(1)})
        assert find_weights(OFFERED["resnet50"], tmp_path).path.suffix == ".safetensors"

    def test_a_second_file_of_a_backbone_is_named(self, tmp_path):
        for ending in (".pt", ".pth", ".safetensors"):
            write(tmp_path / f"resnet50-mini{ending}", published_state(RESNET))
        note = "not used: resnet50-mini.pth, resnet50-mini.pt"
        assert find_weights(RESNET, tmp_path).note == note

    def test_folder_with_hash_suffix(self, tmp_path):
        path = write(tmp_path / "plain.pth", published_state(RESNET))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        path = path.rename(tmp_path / f"resnet50-{sha256[:8]}.pth")
        write(tmp_path / "resnet50-mini.safetensors", published_state(RESNET))
        assert find_weights(OFFERED["resnet50"], tmp_path).path == path

    def test_hash_suffix_that_does_not_hold(self, tmp_path):
        write(tmp_path / "resnet50-0123abcd.pth", published_state(RESNET))
        with pytest.raises(WeightsError, match=r"resnet50-0123abcd\.pth has sha256"):
            find_weights(OFFERED["resnet50"], tmp_path)

    def test_two_hash_suffixes(self, tmp_path):
        for digits in ("0123abcd", "4567abcd"):
            write(tmp_path / f"resnet50-{digits}.pth", published_state(RESNET))
        with pytest.raises(WeightsError, match="rename the one to use"):
            find_weights(OFFERED["resnet50"], tmp_path)

    def test_folder_without_the_file(self, tmp_path):
        message = r"looked for vgg19\.safetensors, vgg19\.pth, vgg19\.pt"
        with pytest.raises(WeightsError, match=message):
            find_weights(OFFERED["vgg19"], tmp_path)
        assert not availability(OFFERED["vgg19"], tmp_path).ready

    def test_folder_without_a_miniature_takes_the_packaged_one(self, tmp_path):
        assert find_weights(RESNET, tmp_path) == find_weights(RESNET)

    def test_folder_with_a_miniature(self, tmp_path):
        path = write(tmp_path / "resnet50-mini.pth", published_state(RESNET))
        assert find_weights(RESNET, tmp_path).path == path

    @pytest.mark.parametrize("name", ["nowhere", "a-file.txt"])
    def test_no_folder(self, tmp_path, name):
        (tmp_path / "a-file.txt").write_text("")
        with pytest.raises(WeightsError, match=f"{name}: no such folder"):
            find_weights(RESNET, tmp_path / name)

    def test_nothing_declared(self):
        with pytest.raises(WeightsError, match="declares no weights"):
            find_weights(RESNET.model_copy(update={"weights": None}))

    def test_unknown_enum(self):
        backbone = RESNET.model_copy(update={"weights": Weights(name="a", enum="Nothing.V1")})
        with pytest.raises(WeightsError, match=r"knows no weights named Nothing\.V1"):
            find_weights(backbone)


class TestTorchvisionsFile:
    def test_offline(self, hub):
        with pytest.raises(WeightsError) as caught:
            find_weights(OFFERED["resnet50"], offline=True)
        for said in (
            "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
            str(hub),
            "103 MB",  # as a plan says it: millions of bytes
            "--weights FOLDER",
            "--weights none",
        ):
            assert said in str(caught.value)
        assert availability(OFFERED["resnet50"], offline=True).problem == str(caught.value)

    def test_no_network(self, hub):
        with pytest.raises(WeightsError, match=r"no route to host.*Fetch https.*--weights none"):
            find_weights(OFFERED["vgg19"])

    def test_to_be_fetched(self, hub):
        plan = availability(OFFERED["densenet121"])
        assert not plan.ready
        assert plan.problem == ""
        assert plan.download == pytest.approx(30.845 * 2**20, abs=1)

    def test_fetched(self, published):
        file = find_weights(OFFERED["densenet121"])
        assert file.path == published.place
        assert published.place.read_bytes() == published.content
        assert not published.part.exists()
        assert find_weights(OFFERED["densenet121"]) == file
        assert published.asked == [0]

    def test_a_call_that_failed_goes_on_where_it_stopped(self, published):
        published.cut = 1000
        with pytest.raises(WeightsError, match=r"could not be fetched .*what has come is kept"):
            find_weights(OFFERED["densenet121"])
        came = published.part.stat().st_size
        assert 900 < came <= 1000
        assert not published.place.exists()
        published.cut, published.asked[:] = None, []
        find_weights(OFFERED["densenet121"])
        assert published.asked == [came]
        assert published.place.read_bytes() == published.content

    def test_a_call_that_was_killed_at_the_end_fetches_nothing_more(self, published):
        published.part.parent.mkdir(parents=True)
        published.part.write_bytes(published.content)
        assert find_weights(OFFERED["densenet121"]).path == published.place
        assert published.asked == []

    @pytest.mark.parametrize("size", [500, 10**8])
    def test_what_was_begun_and_is_wrong_is_fetched_anew(self, published, size):
        published.part.parent.mkdir(parents=True)
        published.part.write_bytes(bytes(min(size, len(published.content) - 1)))
        find_weights(OFFERED["densenet121"])
        assert published.asked[-1] == 0
        assert published.place.read_bytes() == published.content

    def test_fetched_bytes_are_checked(self, published):
        published.content = b"something else"
        with pytest.raises(WeightsError, match=r"has sha256 .* cut short or was changed"):
            find_weights(OFFERED["densenet121"])

    def test_already_there(self, hub, monkeypatch):
        hub.mkdir(parents=True)
        path = write(hub / "plain.pth", published_state(DENSENET))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        known = torchvision.models.get_weight("DenseNet121_Weights.IMAGENET1K_V1")
        path = path.rename(hub / f"densenet121-{sha256[:8]}.pth")
        renamed = type("Known", (), {"url": f"https://x/{path.name}", "meta": known.meta})
        monkeypatch.setattr(torchvision.models, "get_weight", lambda _: renamed)
        file = find_weights(OFFERED["densenet121"], offline=True)
        assert (file.path, file.sha256) == (path, sha256)
        assert file.declared.name == "IMAGENET1K_V1"
        assert availability(OFFERED["densenet121"], offline=True).ready

    def test_cut_short(self, hub):
        hub.mkdir(parents=True)
        (hub / "resnet50-11ad3fa6.pth").write_bytes(b"half a file")
        with pytest.raises(WeightsError, match=r"resnet50-11ad3fa6\.pth has sha256 .* cut short"):
            find_weights(OFFERED["resnet50"])


class TestLoad:
    @pytest.mark.parametrize("name", MINIATURES)
    @pytest.mark.parametrize("ending", [".safetensors", ".pth"])
    def test_every_tensor_but_the_head_layer(self, tmp_path, name, ending):
        backbone = OFFERED[name]
        state = published_state(backbone)
        write(tmp_path / f"{name}{ending}", state)
        start = loaded(backbone, tmp_path)
        layer = backbone.head_layer()
        wanted = {n for n in published_chain(backbone) if not n.startswith(layer)}
        assert set(start.state) == wanted
        for chain_name, tensor in start.state.items():
            assert torch.equal(tensor, state[backbone.published_name(chain_name)])
        assert start.record.new == ()
        assert start.record.name == f"{name}{ending}"

    def test_half_precision_becomes_float32(self, tmp_path):
        state = {
            n: t.half() if t.is_floating_point() else t for n, t in published_state(VGG).items()
        }
        write(tmp_path / "vgg19-mini.safetensors", state)
        start = loaded(VGG, tmp_path)
        assert {t.dtype for t in start.state.values()} == {torch.float32}
        assert torch.equal(start.state["block2.3.weight"], state["features.3.weight"].float())

    def test_head_layer_is_new_even_for_as_many_classes(self, tmp_path):
        write(tmp_path / "vgg19-mini.pth", published_state(VGG, classes=4))
        start = loaded(VGG, tmp_path, classes=4)
        assert not [name for name in start.state if name.startswith("head")]

    def test_wrapped(self, tmp_path):
        state = published_state(VGG)
        wrapped = {"epoch": 3, "state_dict": {f"module.{n}": t for n, t in state.items()}}
        write(tmp_path / "vgg19-mini.pth", wrapped)
        start = loaded(VGG, tmp_path)
        assert torch.equal(start.state["block1.0.weight"], state["features.0.weight"])

    @pytest.mark.slow
    @pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "my_net.backbone."])
    @pytest.mark.parametrize("name", MINIATURES)
    def test_prefixes_by_what_fits(self, tmp_path, name, prefix):
        backbone = OFFERED[name]
        state = {prefix + n: t for n, t in published_state(backbone).items()}
        write(tmp_path / f"{name}.pth", {"weights": state})
        start = loaded(backbone, tmp_path)
        assert start.record.new == ()
        assert start.record.source == f"read from ['weights']; names without {prefix!r}"

    def test_old_densenet_names_behind_a_prefix(self, tmp_path):
        state = {
            "net." + n.replace("norm1", "norm.1").replace("conv2", "conv.2"): t
            for n, t in published_state(DENSENET).items()
        }
        write(tmp_path / "densenet121-mini.pth", state)
        assert loaded(DENSENET, tmp_path).record.new == ()

    def test_missing_counters_are_not_new(self, tmp_path):
        state = published_state(DENSENET)
        kept = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
        write(tmp_path / "densenet121-mini.pth", kept)
        start = loaded(DENSENET, tmp_path)
        assert start.record.new == ()
        assert start.state["stem.norm0.num_batches_tracked"] == 0
        DENSENET.build(4).load_state_dict(start.state, strict=False)

    def test_missing_layers_are_new(self, tmp_path):
        state = {n: t for n, t in published_state(VGG).items() if n.startswith("features")}
        write(tmp_path / "vgg19-mini.pth", state)
        start = loaded(VGG, tmp_path)
        assert start.record.new == ("fc.0.weight", "fc.0.bias", "fc.3.weight", "fc.3.bias")
        assert not [name for name in start.state if name.startswith("fc")]

    def test_a_published_classifier_of_another_kind(self, tmp_path):
        state = published_state(RESNET)
        state |= {"fc.0.weight": state.pop("fc.weight"), "fc.0.bias": state.pop("fc.bias")}
        write(tmp_path / "resnet50-mini.pth", state)
        assert loaded(RESNET, tmp_path).record.new == ()

    def test_old_densenet_names(self, tmp_path):
        state = published_state(DENSENET)
        old = {n.replace("norm1", "norm.1").replace("conv2", "conv.2"): t for n, t in state.items()}
        assert set(old) != set(state)
        write(tmp_path / "densenet121-mini.pth", old)
        assert loaded(DENSENET, tmp_path).record.new == ()

    def test_no_memory_is_shared_with_a_strided_tensor(self, tmp_path):
        state = published_state(VGG)
        state["features.3.weight"] = state["features.3.weight"].to(
            memory_format=torch.channels_last
        )
        write(tmp_path / "vgg19-mini.pth", state)
        assert loaded(VGG, tmp_path).state["block2.3.weight"].is_contiguous()

    def test_record_of_a_packaged_file(self):
        record = load_weights(RESNET, 3, find_weights(RESNET)).record
        assert record.miniature
        assert record.name == RESNET.weights.name
        assert record.sha256 == RESNET.weights.sha256
        assert record.licence == "Apache-2.0"
        assert record.new == ()


# As torchvision's networks number their children; those between have no tensors.
CHILDREN = {
    "resnet50-mini": {
        "conv1": 0,
        "bn1": 1,
        "layer1": 4,
        "layer2": 5,
        "layer3": 6,
        "layer4": 7,
        "fc": 9,
    },
    "densenet121-mini": {"features": 0, "classifier": 1},
}


@pytest.mark.parametrize("name", CHILDREN)
@pytest.mark.parametrize("head", [True, False])
def test_children_saved_by_their_number(tmp_path, name, head):
    """As RadImageNet's files are: `nn.Sequential(*list(network.children())[:n])` under `backbone`."""
    backbone, state = OFFERED[name], published_state(OFFERED[name])
    numbered = {}
    for full, tensor in state.items():
        child, _, rest = full.partition(".")
        if head or child not in {"fc", "classifier"}:
            numbered[f"backbone.{CHILDREN[name][child]}.{rest}"] = tensor
    write(tmp_path / f"{name}.pt", numbered)
    found = loaded(backbone, tmp_path)
    assert found.record.new == ()
    assert all(torch.equal(t, state[backbone.published_name(n)]) for n, t in found.state.items())
    note = "names without 'backbone.'; children by their number"
    last = f"backbone.{list(CHILDREN[name].values())[-1]}"
    assert found.record.source == note + (
        f"; other tensors passed over: {last}.weight and 1 more" if head else ""
    )


class TestMisfits:
    @pytest.mark.parametrize("name", MINIATURES)
    @pytest.mark.parametrize("other", MINIATURES)
    def test_another_architecture(self, tmp_path, name, other):
        if name == other:
            return
        write(tmp_path / f"{name}.pth", published_state(OFFERED[other]))
        with pytest.raises(WeightsError, match=rf"{name}\.pth does not fit {name}.*architecture"):
            loaded(OFFERED[name], tmp_path)

    @pytest.mark.parametrize("other", ["resnet18", "resnet34", "resnet101", "wide_resnet50_2"])
    def test_another_resnet(self, tmp_path, other):
        with torch.device("meta"):
            shapes = getattr(torchvision.models, other)().state_dict()
        state = {n: torch.zeros((), dtype=t.dtype).expand(t.shape) for n, t in shapes.items()}
        write(tmp_path / "resnet50.pth", state)
        with pytest.raises(WeightsError, match=r"resnet50\.pth does not fit resnet50: "):
            loaded(OFFERED["resnet50"], tmp_path)

    def test_another_width_names_both_shapes(self, tmp_path):
        write(tmp_path / "resnet50.pth", published_state(RESNET))
        with pytest.raises(
            WeightsError,
            match=r"conv1\.weight is \(8, 3, 7, 7\), not \(64, 3, 7, 7\) \(and \d+ more\)",
        ):
            loaded(OFFERED["resnet50"], tmp_path)

    def test_one_tensor_of_another_shape(self, tmp_path):
        state = published_state(VGG)
        state["classifier.3.weight"] = torch.zeros(5, 5)
        write(tmp_path / "vgg19-mini.pth", state)
        with pytest.raises(WeightsError, match=r"classifier\.3\.weight is \(5, 5\)"):
            loaded(VGG, tmp_path)

    def test_weights_for_grey_images_and_the_remedy_works(self, tmp_path):
        state = published_state(RESNET)
        whole = state["conv1.weight"]
        state["conv1.weight"] = whole.sum(1, keepdim=True)
        write(tmp_path / "resnet50-mini.pth", state)
        with pytest.raises(WeightsError, match="trained on images of 1 channel,") as caught:
            loaded(RESNET, tmp_path)
        exec(str(caught.value).split("`")[1], {"c": state})
        grey = torch.rand(2, 1, 32, 32)
        convolve = torch.nn.functional.conv2d
        new = convolve(grey.expand(-1, 3, -1, -1), state["conv1.weight"])
        torch.testing.assert_close(new, convolve(grey, whole.sum(1, keepdim=True)))
        write(tmp_path / "resnet50-mini.pth", state)
        loaded(RESNET, tmp_path)

    def test_a_stranger_among_the_layers(self, tmp_path):
        state = published_state(RESNET) | {"layer4.3.conv1.weight": torch.zeros(1)}
        write(tmp_path / "resnet50-mini.pth", state)
        with pytest.raises(WeightsError, match=r"layer4\.3\.conv1\.weight, which resnet50-mini"):
            loaded(RESNET, tmp_path)

    def test_too_little(self, tmp_path):
        write(tmp_path / "vgg19-mini.pth", dict(list(published_state(VGG).items())[:4]))
        with pytest.raises(WeightsError, match="fills 4 of 20 tensors"):
            loaded(VGG, tmp_path)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_not_finite(self, tmp_path, value):
        state = published_state(VGG)
        state["features.0.weight"][0, 0, 0, 0] = value
        write(tmp_path / "vgg19-mini.pth", state)
        with pytest.raises(WeightsError, match=r"block1\.0\.weight holds values that are not"):
            loaded(VGG, tmp_path)


class TestBrokenFiles:
    @pytest.mark.parametrize("ending", [".safetensors", ".pth"])
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
    def test_cut_short(self, tmp_path, ending, share):
        path = write(tmp_path / f"a{ending}", published_state(VGG))
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(WeightsError, match=rf"a\{ending} cannot be read as weights"):
            read_tensors(path)

    @pytest.mark.parametrize("ending", [".safetensors", ".pth"])
    def test_something_else(self, tmp_path, ending):
        path = tmp_path / f"a{ending}"
        path.write_bytes(b"<html>not found</html>" * 100)
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            read_tensors(path)

    def test_code_is_not_run(self, tmp_path):
        class Nasty:
            def __reduce__(self):
                return (os.mkdir, (str(tmp_path / "run"),))

        path = write(tmp_path / "a.pth", {"a": Nasty()})
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            read_tensors(path)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("content", [{}, [1, 2], {"state_dict": {}}, torch.zeros(3)])
    def test_no_tensors(self, tmp_path, content):
        with pytest.raises(WeightsError, match="holds no tensors by name"):
            read_tensors(write(tmp_path / "a.pth", content))

    def test_other_values(self, tmp_path):
        with pytest.raises(WeightsError, match="no tensor: 'epoch'"):
            read_tensors(write(tmp_path / "a.pth", {"epoch": 3, "a": torch.zeros(3)}))


@pytest.mark.parametrize("name", MINIATURES)
def test_source_head_of_a_shipped_file(name):
    backbone = OFFERED[name]
    head = backbone.source_head(read_tensors(find_weights(backbone).path))
    layer = backbone.published_name(backbone.head_layer())
    assert set(head) == {f"{layer}.weight", f"{layer}.bias"}
    assert len(head[f"{layer}.weight"]) == len(head[f"{layer}.bias"]) >= 20


@pytest.mark.realdata
@pytest.mark.skipif(not os.environ.get("HARNESS_WEIGHTS"), reason="HARNESS_WEIGHTS is not set")
@pytest.mark.parametrize(
    ("name", "new", "source_classes"),
    [
        ("resnet50", (), 1000),
        ("densenet121", (), 200),
        ("vgg19", ("fc.0.weight", "fc.0.bias", "fc.3.weight", "fc.3.bias"), None),
    ],
)
def test_real_files(name, new, source_classes):
    backbone, folder = OFFERED[name], Path(os.environ["HARNESS_WEIGHTS"])
    file = find_weights(backbone, folder)
    start = load_weights(backbone, 3, file)
    assert start.record.new == new
    listed = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert start.record.sha256 == listed[f"{name}.safetensors"]
    head = backbone.source_head(read_tensors(file.path))
    assert [len(t) for t in head.values()] == ([source_classes] * 2 if source_classes else [])
