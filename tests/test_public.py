"""The public face: every promised name is there, costs nothing until it is used, and does what its help says."""

import inspect
import json
import pydoc
import subprocess
import sys
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest

import scanward
from scanward import errors, forgery, formats, image, protection, verdict
from scanward.attacks import base
from scanward.judging import scan as judging
from scanward.judging import site
from scanward.protectors import base as protectors
from scanward.protectors import seal as keys
from scanward.report.heat import png
from scanward.seals import trust
from scanward.seals.files import seal_file
from scanward.seals.signing import pem_of, signer_of

PROMISED = {
    "inject": forgery, "remove": forgery, "inject_views": forgery, "remove_views": forgery, "Pair": forgery,
    "Tamper": base, "load": judging, "scan": judging, "scan_many": judging,
    "calibrate": judging, "Result": judging, "find": formats, "Source": formats, "Around": protection,
    "Perturb": protection, "Record": protection, "Image": image, "Provenance": image, "Site": site, "read_site": site,
    "protect": protection, "seal": protection, "verify": protection, "unprotect": protection, "read_record": protection,
    "Protected": protectors, "Answer": protection, "make_key": keys,
    "Trust": trust, "read_trust": trust, "Verdict": verdict, "Finding": verdict, "Evidence": verdict,
    "ScanwardError": errors, "InputError": errors, "UnreadableError": errors, "UnjudgedError": errors,
    "UnsupportedError": errors,
    "ArgumentError": errors, "WeightsError": errors, "MissingExtraError": errors,
}
MASS = {"size_mm": 10, "at": (100, 210), "method": "composed-mass", "spacing": (0.2, 0.2)}
MASS_AS_OPTIONS = ("--size", 10, "--at", "100,210", "--method", "composed-mass", "--spacing", 0.2)
LONGEST = 300
"""Characters of a representation, as a console shows them without a flood."""


def half_round(side=400):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :300]
    inside = np.hypot((y - side / 2) / (0.45 * side), x / 240) < 1
    tissue = 0.45 + 0.05 * np.sin(y / 9) * np.sin(x / 7) + rng.normal(0, 0.01, y.shape)
    return np.rint(np.where(inside, tissue, 0.01) * 65535).astype(np.uint16)


@pytest.fixture
def film(tmp_path, monkeypatch):
    """The working folder holds film.png, which is named as a user would."""
    monkeypatch.chdir(tmp_path)
    Path("film.png").write_bytes(png(half_round()))
    return "film.png"


@pytest.fixture
def lung(tmp_path):
    """A volume of lung-like noise, NIfTI, with its voxels (x, y, z)."""
    values = np.rint(np.random.default_rng(0).normal(-800, 25, (96, 90, 14))).astype(np.int16)
    nibabel.Nifti1Image(values, np.diag([0.7, 0.7, 2, 1])).to_filename(tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz", values


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_exactly_the_promised_names_are_exported():
    assert set(scanward.__all__) == {*PROMISED, "__version__"}
    assert scanward.__all__ == sorted(scanward.__all__, key=lambda n: (not n[0].isupper(), n))


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_each_is_the_one_from_its_room(name):
    assert getattr(scanward, name) is getattr(PROMISED[name], name)
    assert name in dir(scanward)


def test_every_error_is_exported_and_is_a_scanward_error():
    defined = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, Exception)}
    assert defined <= set(scanward.__all__)
    assert all(issubclass(getattr(scanward, n), scanward.ScanwardError) for n in defined)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = scanward.nonsense


def test_importing_scanward_imports_no_library():
    code = "import scanward, sys; print(sorted({'numpy', 'torch', 'cv2', 'pydicom', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


USES = {}


def uses(*names):
    """Marks a test that uses these names as they are documented."""
    def mark(test):
        USES.update(dict.fromkeys(names, test))
        return test
    return mark


@uses("scan", "Verdict", "Evidence", "Finding")
def test_scan_takes_every_kind_of_image_and_judges_it_the_same(film, bright):
    array = half_round()
    array[100:110, 50:60] = 60000
    cv2.imwrite(film, array)
    found, _ = scanward.find(film)
    given = [film, Path(film), found[0], array, array[None], array.astype(float), scanward.load(film)]
    verdicts = [scanward.scan(one, method="copy-move") for one in given]
    for one in verdicts:
        assert (one.label, one.heat.shape, one.heat.dtype) == ("tampered", (1, 400, 300), np.float32)
        assert one.score == pytest.approx(60000 / 65535) and np.array_equal(one.heat, verdicts[0].heat)
        assert one.findings[0].box == (0, 100, 50, 1, 108, 58)  # (z, y, x), as arrays index
        assert one.evidence[0].method == "bright"
    assert verdicts[0].to_json()["findings"][0]["box"] == [50, 100, 58, 108]  # (x, y), as on the command line


@uses("load", "Image", "Provenance")
def test_load_reads_what_it_is_given_as_documented(film, lung):
    loaded = scanward.load(film, spacing=(0.1, 0.2))
    assert loaded.pixels.dtype == np.float32 and loaded.shape == (1, 400, 300) and loaded.modality == "MG"
    assert loaded.spacing == (1.0, 0.1, 0.2) and loaded.provenance.path == Path(film)
    path, values = lung
    volume = scanward.load(path)
    assert np.array_equal(volume.pixels, values.transpose(2, 1, 0)[:, ::-1, ::-1])
    assert volume.spacing == pytest.approx((2.0, 0.7, 0.7))
    array = half_round().astype(float)
    made = scanward.load(array, modality="MG", spacing=(0.1, 0.2))
    array[:] = 0  # the image has pixels of its own
    assert np.array_equal(made.pixels, loaded.pixels) and made.provenance == scanward.Provenance()
    assert scanward.load(loaded) is loaded
    same = scanward.Image(loaded.pixels, "MG", (1.0, 0.1, 0.2))
    assert np.array_equal(same.plane, half_round())


@uses("find", "Source", "scan_many", "Result")
def test_many_are_scanned_from_paths_folders_globs_and_sources(film, bright, tmp_path):
    (tmp_path / "folder").mkdir()
    cv2.imwrite("folder/b.png", half_round())
    sources, errors = scanward.find([film, "no.png"])
    assert [source.path for source in sources] == [Path(film)] and len(errors) == 1
    results = list(scanward.scan_many([sources[0], film, Path("folder"), "f*.png", "no.png"], method="copy-move"))
    assert [str(one.path) for one in results] == [film, film, "folder/b.png", film, "no.png"]
    assert [one.label for one in results] == ["authentic"] * 4 + ["inconclusive"]
    assert "no.png does not exist" in str(results[-1].error) and results[0].image.shape == (1, 400, 300)
    assert [one.path for one in scanward.scan_many(film)] == [Path(film)]


@uses("calibrate", "Site", "read_site")
def test_a_site_is_calibrated_kept_and_used(film, bright):
    results = list(scanward.scan_many(film)) * 12
    made = scanward.calibrate(results, false_alarms=0.05)
    made.save("site.json")
    for path in ("site.json", Path("site.json")):
        assert scanward.read_site(path) == made
    assert scanward.scan(film, site=made).evidence[0].threshold == 0.8  # never below the shipped one
    with pytest.raises(scanward.ArgumentError, match="10 or more"):
        scanward.calibrate(results[:5])


@uses("Trust", "read_trust")
def test_seals_beside_a_file_are_heard_of_whoever_is_trusted(film, bright):
    other = signer_of(b"x" * 32, "Other")
    seal_file(scanward.Source((Path(film),), "file"), other)
    Path("other.crt").write_bytes(pem_of(other.certificate))
    Path("trust.toml").write_text('[[certificate]]\nfile = "other.crt"\n')
    known = scanward.read_trust("trust.toml")
    assert isinstance(known, scanward.Trust) and len(known.anchors) == 1
    assert "seal" not in [one.method for one in scanward.scan(film).evidence]
    for given in (known, "trust.toml"):
        heard = scanward.scan(film, trust=given)
        (result,) = scanward.scan_many(film, trust=given)
        assert heard.evidence[0].method == result.verdict.evidence[0].method == "seal"
    altered = half_round()
    altered[100, 100] ^= 1
    Path(film).write_bytes(png(altered))
    assert scanward.scan(film, trust=known).label == "tampered"


@uses("inject", "remove", "Tamper")
@pytest.mark.parametrize("given", ["path", "image"])
def test_a_saved_tamper_is_what_the_command_line_writes(film, run, given):
    whole = {**MASS, "seed": 3}
    if given == "image":
        tamper = scanward.inject(scanward.load(film, spacing=whole.pop("spacing")), **whole)
    else:
        tamper = scanward.inject(film, **whole)
    assert tamper.mask.shape == tamper.image.shape == (1, 400, 300)
    where = np.argwhere(tamper.mask).mean(0)  # (z, y, x), where `at` was (x, y)
    assert abs(where[1] - 210) < 5 and abs(where[2] - 100) < 5
    written = tamper.save("api")
    assert run("inject", film, "-o", "cli", "--seed", 3, *MASS_AS_OPTIONS)[0] == 0
    ours, theirs = files("api"), files("cli")
    assert set(written) == {Path("api") / name for name in ours if not name.name.endswith(".scanward.json")}
    if given == "image":  # its record says what the image was told beside its file
        kept = [json.loads(one.pop(Path("record.json"))) for one in (ours, theirs)]
        assert kept[0].pop("modality") == "MG" and kept[1].pop("modality") is None and kept[0] == kept[1]
    assert ours == theirs
    assert np.array_equal(scanward.load(written[0]).pixels, tamper.image.pixels)
    code, out, _ = run("replay", "api/record.json")
    assert code == 0 and "same bytes" in out


@uses("inject_views", "remove_views", "Pair")
@pytest.mark.parametrize(("act", "method"), [("inject", "mammo-digital"), ("remove", "inpaint-telea")])
def test_a_saved_pair_is_what_the_command_line_writes(film, run, act, method):
    cv2.imwrite("other.png", half_round() + 900)
    pair = getattr(scanward, f"{act}_views")(film, "other.png", **{**MASS, "method": method}, at2=(110, 190), seed=3)
    assert [tamper.record.method for tamper in pair.tampers] == [method, method]
    assert pair.save("api") == (Path("api/CC"), Path("api/MLO"))
    options = "--views", "--at2", "110,190", *MASS_AS_OPTIONS, "--method", method, "--seed", 3
    assert run(act, film, "other.png", "-o", "cli", *options)[0] == 0
    assert files("api") == files("cli")
    with pytest.raises(scanward.ArgumentError, match="overwritten"):
        pair.save("api")
    cv2.imwrite("other.png", half_round() + 1)
    with pytest.raises(scanward.UnreadableError, match=r"other\.png"):
        pair.save("new")
    assert not Path("new").exists()


@pytest.mark.parametrize("change", [{"size_mm": 10**400}, {"strength": 10**400}, {"at": (10**400, 1)},
                                    {"spacing": (10**400, 1)}])
def test_whole_numbers_beyond_all_floats_are_one_sentence(film, change):
    with pytest.raises(scanward.ArgumentError, match=f"The argument {next(iter(change))} takes"):
        scanward.inject(film, **{**MASS, **change})


def test_what_cannot_be_saved_is_one_sentence_and_leaves_nothing(film):
    tamper = scanward.remove(film, **{**MASS, "method": "inpaint-telea"})
    tamper.save(Path("out"))
    before = files(".")
    with pytest.raises(scanward.ArgumentError, match="overwritten"):
        tamper.save("out")
    with pytest.raises(scanward.ArgumentError, match="array"):
        scanward.inject(half_round(), **MASS).save("new")
    assert files(".") == before
    cv2.imwrite(film, half_round() + 1)
    with pytest.raises(scanward.UnreadableError, match=film):
        tamper.save("new")
    assert not Path("new").exists()


@uses("make_key", "seal", "verify", "Answer")
def test_an_image_is_sealed_and_verified_with_any_kind_of_path_and_key(film, run):
    scanward.make_key("site.key")
    secret = bytes.fromhex(Path("site.key").read_text().split()[1])
    (source,), _ = scanward.find(film)
    cases = ((film, "site.key", "a"), (Path(film), Path("site.key"), Path("b")), (source, secret, "c"))
    for given, key, folder in cases:
        assert scanward.seal(given, key, folder) == Path(folder) / "film.png.seal"
        answer = scanward.verify(given, key, seal=folder)
        assert (answer.label, answer.boxes) == ("authentic", ()) and not answer.heat((1, 400, 300)).any()
        assert run("verify", film, "--key", "site.key", "--seal", folder)[0] == 0
    forged = half_round()
    forged[80:90, 40:50] += 500
    cv2.imwrite(film, forged)
    answer = scanward.verify(film, secret, seal="c")
    (box,) = answer.boxes
    assert answer.label == "tampered" and answer.reason == answer.parts["voxels"].reason
    assert box.y0 <= 80 and box.y1 >= 90 and box.x0 <= 40 and box.x1 >= 50 and box.z0 == 0
    assert answer.heat((1, 400, 300)).sum() == (box.y1 - box.y0) * (box.x1 - box.x0)


@uses("unprotect", "read_record", "Record")
def test_what_an_earlier_version_wove_is_verified_and_taken_out(old, run):
    record = scanward.read_record(old / "series" / "evidence.json", old / "site.key")
    series = old / "series" / "ct-protected"
    assert scanward.verify(series, old / "site.key").label == "authentic"
    assert scanward.verify(scanward.load(series), old / "site.key", record).label == "authentic"
    undone = scanward.unprotect(series, old / "site.key").pixels
    assert run("unprotect", series, "--key", old / "site.key", "-o", old / "undone")[0] == 0
    assert np.array_equal(scanward.load(old / "undone" / "ct-protected-unprotected").pixels, undone)


@uses("protect", "Protected", "Perturb", "Around")
def test_a_perturbation_is_around_the_place_that_was_named(lung, tmp_path):
    around = scanward.Around(z=6, y=30, x=60, diameter_mm=6)
    made = scanward.protect(lung[0], perturb=scanward.Perturb(around=[around], epsilon=16))
    change = np.abs(made.image.pixels - scanward.load(lung[0]).pixels)
    assert 0 < change.max() <= 16 and change[:, 25:36, 55:66].any() and not change[:, 60:].any()
    assert [path.name for path in made.save(tmp_path / "out")] == ["ct-protected.nii.gz", "protected.png",
                                                                  "perturbation.json"]


USES.update(dict.fromkeys([name for name in PROMISED if name.endswith("Error")],
                          test_every_error_is_exported_and_is_a_scanward_error),
            __version__=test_exactly_the_promised_names_are_exported)


@pytest.mark.parametrize("name", scanward.__all__)
def test_every_name_has_a_test_that_uses_it_and_help(name):
    assert name in USES, f"write a test that uses scanward.{name} as documented, and mark it with @uses"
    text = inspect.getdoc(getattr(scanward, name))
    assert text and not text.startswith(f"{name}(")  # more than the signature that a dataclass gives itself
    if name != "__version__":
        assert name in pydoc.plain(pydoc.render_doc(scanward))


WRONG = {
    "load(5)": "source", "load('')": "source", "load(b'film.png')": "source", "load(film, spacing=0.05)": "(y, x)",
    "load(film, spacing=('a', 1))": "spacing", "load(film, modality='mg')": "modality",
    "load(np.zeros((4, 4), bool))": "bool", "load(np.zeros(9))": "axes",
    "scan(None)": "source", "scan(['film.png'])": "source", "scan(film, spacing=0.05)": "(y, x)",
    "scan(film, method=None)": "method", "scan(film, site='site.json')": "read_site", "scan(film, key=5)": "key",
    "scan(film, trust=5)": "trust", "read_trust(5)": "path",
    "scan(film, key=bytes(32), record=5)": "record", "scan(load(film), spacing=(1, 1))": "spacing",
    "scan_many(None)": "sources", "[*scan_many([load(film)])]": "sources", "scan_many(film, spacing=0.05)": "(y, x)",
    "find(5)": "sources", "find([None])": "sources", "calibrate(5)": "results", "calibrate([5])": "results",
    "calibrate([], 'x')": "false_alarms", "read_site(5)": "path", "read_record(5, bytes(32))": "path",
    "read_record('no.json', 5)": "key", "make_key(5)": "path", "protect(film, bytes(32))": "scanward.seal(path, key)",
    "protect(5, perturb=Perturb('tafim'))": "source", "seal(5, bytes(32))": "source", "seal(film, 5)": "key",
    "seal(load(film), bytes(32))": "source", "seal(film, bytes(32), 5)": "folder",
    "seal(film, bytes(32), site=5)": "site", "seal(film, bytes(32), log=5)": "log",
    "verify(film, bytes(32), identity='x')": "identity", "verify(film, bytes(32), seal=5)": "seal",
    "verify(film, bytes(32), log='nowhere')": "log", "verify(film, certificates='a.crt')": "certificates",
    "verify(film, certificates=[5])": "certificates", "verify(load(film), bytes(32), seal='x.seal')": "record=",
    "protect(film, perturb='mits-gan')": "perturb", "Perturb(around=[(1, 2, 3, 4)])": "scanward.Around",
    "Perturb(epsilon='x')": "epsilon", "verify(film, None)": "key", "verify(5, bytes(32))": "source",
    "verify(film, bytes(32), 5)": "record", "verify(load(film), bytes(32))": "record=",
    "unprotect(film, bytes(32), 5)": "record", "inject(film, size_mm='x')": "size_mm", "inject(5, size_mm=9)": "source",
    "inject(film, size_mm=9, at=5)": "(x, y)", "inject(film, size_mm=9, at='1,2')": "(x, y)",
    "inject(film, size_mm=9, seed='x')": "seed", "inject(film, size_mm=9, strength='x')": "strength",
    "inject(film, size_mm=9, method=5)": "method", "inject(film, size_mm=9, sigma='x', method='mammo-cgan')": "sigma",
    "remove(film, size_mm=9, grain=5, method='mammo-cgan-remove')": "grain",
    r"load('a\0b')": "source", r"scan('a\0b')": "source", r"seal('a\0b', bytes(32))": "source",
    r"seal(film, 'a\0b')": "key", r"seal(film, bytes(32), 'a\0b')": "folder",
    r"seal(film, bytes(32), log='a\0b')": "log",
    r"verify('a\0b', bytes(32))": "source", r"verify(film, bytes(32), seal='a\0b')": "seal",
    r"verify(film, bytes(32), log='a\0b')": "log", r"verify(film, certificates=['a\0b'])": "certificates",
    r"verify(film, bytes(32), 'a\0b')": "record", r"read_trust('a\0b')": "path", r"read_site('a\0b')": "path",
    r"make_key('a\0b')": "path", r"load('a\ud800')": "source",
    r"read_record('a\0b', bytes(32))": "path", r"scan(film, trust='a\0b')": "trust",
    "Image(np.zeros((1, 40, 40)), 'MG')": "float32", "Image(np.zeros((1, 40, 40), np.float32), 'XA')": "modality",
    "Image(np.zeros((1, 40, 40), np.float32), 'MG', 0.05)": "(z, y, x)", "Image([[1]], 'MG')": "pixels",
}


@pytest.mark.parametrize("call", WRONG)
def test_an_argument_of_another_kind_is_one_sentence_that_names_it(film, call):
    names = {name: getattr(scanward, name) for name in scanward.__all__}
    with pytest.raises(scanward.InputError) as raised:
        eval(call, {**names, "film": film, "np": np})
    said = str(raised.value)
    assert WRONG[call] in said and said.endswith(".") and "\n" not in said and len(said) < LONGEST


@pytest.mark.parametrize("call", [
    "load(LONG)", "scan(LONG)", "seal(LONG, bytes(32))", "seal(film, bytes(32), LONG)",
    "seal(film, bytes(32), log=LONG)", "verify(LONG, bytes(32))", "verify(film, bytes(32), seal=LONG)",
    "verify(film, bytes(32), log=LONG)", "verify(film, bytes(32), LONG)", "verify(film, certificates=[LONG])",
    "verify(film, LONG)", "read_trust(LONG)", "read_site(LONG)", "read_record(LONG, bytes(32))", "make_key(LONG)",
    "inject(film, size_mm=9, spacing=(0.1, 0.1)).save(LONG)",
])
def test_a_name_that_is_too_long_is_one_sentence(film, call):
    names = {name: getattr(scanward, name) for name in scanward.__all__}
    with pytest.raises(scanward.InputError, match=f"{'n' * 300}.*\\.$"):
        eval(call, {**names, "film": film, "LONG": "n" * 300})


def test_what_holds_an_array_is_equal_to_itself_alone_and_never_fails_to_say_so(film, bright, lung, old):
    """As arrays have no one answer: np.array_equal compares pixels."""
    around = scanward.Perturb(around=[scanward.Around(z=6, y=30, x=60, diameter_mm=6)])
    made, tamper = scanward.protect(lung[0], perturb=around), scanward.inject(film, **MASS)
    record, key = scanward.read_record(old / "film" / "evidence.json", old / "site.key"), old / "site.key"
    result = next(scanward.scan_many(film))
    for one, other in ((made, scanward.protect(lung[0], perturb=around)), (made.image, scanward.load(film)),
                       (record, scanward.read_record(old / "film" / "evidence.json", key)),
                       (tamper, scanward.inject(film, **MASS)), (result.verdict, scanward.scan(film)),
                       (result.verdict.evidence[0], scanward.scan(film).evidence[0]),
                       (scanward.verify(old / "film", key), None)):
        assert one in [other, one] and one != other and len({one, other, one}) == 2


def test_what_a_console_shows_is_short_and_says_what_it_is(film, bright, lung, old):
    around = [scanward.Around(6, 30, 60, 6)]
    made = scanward.protect(lung[0], perturb=scanward.Perturb(around=around))
    result = next(scanward.scan_many(film))
    sources = scanward.find(["film.png"])[0]
    many = scanward.Source(tuple(Path(f"{n:04}.dcm") for n in range(300)), "series")
    finding = scanward.Finding((0, 1, 2, 3, 4, 5), 0.5, outline=((1.0, 2.0),) * 999)
    scanward.seal(film, old / "site.key")
    shown = [made, scanward.read_record(old / "film" / "evidence.json", old / "site.key"), made.image,
             made.image.provenance, scanward.verify(old / "film", old / "site.key"),
             scanward.verify(film, old / "site.key"), result, result.verdict, finding,
             *result.verdict.evidence, scanward.inject(film, **MASS), sources[0], many,
             scanward.Perturb(around=around * 99), around[0], trust.trust_in([signer_of(bytes(32)).certificate] * 9),
             scanward.calibrate([result] * 12)]
    for one in shown:
        assert len(repr(one)) < LONGEST and repr(one).startswith(type(one).__name__), repr(one)
    assert "label='authentic'" in repr(result.verdict) and "float32 (1, 400, 300)" in repr(result.image)
    assert "film.png" in repr(result)
