"""Runs measured under recording conditions, from training on tones to the page."""

import json
import shutil

import numpy as np
import pytest
import yaml

from benchmarks import robustness, robustness_page
from benchmarks.robustness import LADDERS, Ladder, measure
from satn_fast.audio import write_wav
from satn_fast.data import Utterance, read_manifest, write_manifest
from satn_fast.evaluation import Predictions, read_predictions, summarise, write_predictions
from satn_fast.training.conditions import Cut, Level, Noise
from satn_fast.training.recipes import train
from satn_fast.training.settings import EmotionSettings

TINY = '{"channels": 8, "n_blocks": 2, "n_heads": 2, "dropout": 0.0}'
SPEAKERS = ("anna", "ben", "carl")
FEW = (
    Ladder("level", (-20, 20), lambda gain, _: Level(gain)),
    Ladder("white noise", (40, -30), lambda snr, _: Noise(snr, "white")),
    Ladder("babble", (0,), lambda snr, voices: Noise(snr, "babble", voices)),
    Ladder("cut", (0.2,), lambda seconds, _: Cut(seconds)),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Low tones are calm and high ones angry, whoever makes them."""
    folder = tmp_path_factory.mktemp("tones")
    utterances = []
    for speaker, factor in zip(SPEAKERS, (0.9, 1.0, 1.1), strict=True):
        for number in range(6):
            label = ("calm", "angry")[number % 2]
            hertz = factor * (300, 2500)[number % 2]
            t = np.arange(6400 + 400 * number) / 16000
            noise = np.random.default_rng(number).standard_normal(len(t))
            wave = 0.2 * np.sin(2 * np.pi * hertz * t) + 0.01 * noise
            write_wav(folder / f"{speaker}{number}.wav", wave.astype(np.float32), 16000)
            utterances.append(Utterance(folder / f"{speaker}{number}.wav", label, speaker))
    write_manifest(folder / "manifest.csv", utterances)
    return folder / "manifest.csv"


def trained(manifest, folder, **changes):
    settings = EmotionSettings(
        leave_out="speaker",
        preset="micro",
        model=TINY,
        speeds="1",
        calibrate=False,
        accelerator="cpu",
        style_mixing=0.0,
        **changes,
    )
    train(manifest, settings, folder, start=lambda what: lambda *told, **note: None, notify=lambda said: None)
    return folder


@pytest.fixture(scope="module")
def run(manifest, tmp_path_factory):
    return trained(manifest, tmp_path_factory.mktemp("runs") / "plain", seeds=2, epochs=20, batch_size=4)


@pytest.fixture(scope="module")
def figures(run, manifest):
    [found] = measure([run], manifest, FEW)
    return found


def test_unchanged_recordings_give_what_the_run_gave(run, figures):
    predictions = read_predictions(run / "predictions.csv")
    clean = figures["kinds"]["clean"]
    seeds = summarise(predictions).over_seeds["ua"]
    assert clean["ua"] == [round(seeds.mean, 4)]
    assert clean["ua_deviation"] == [round(seeds.deviation, 4)]
    assert clean["ua"][0] > 0.9  # else nothing below says anything
    assert (figures["folds"], figures["seeds"], figures["utterances"]) == (3, 2, 18)


def test_mild_conditions_leave_the_decision_and_harsh_ones_take_it(figures):
    kinds = figures["kinds"]
    assert kinds["white noise"]["strength"] == [40, -30]
    assert kinds["white noise"]["ua"][0] > 0.9
    assert kinds["white noise"]["ua"][1] < 0.7
    assert [len(kinds[name]["ece"]) for name in ("level", "white noise", "babble", "cut")] == [2, 2, 1, 1]
    assert all(0 <= value <= 1 for found in kinds.values() for value in (*found["ua"], *found["ece"]))


def test_the_same_measured_again_is_the_same(run, manifest, figures):
    [again] = measure([run], manifest, FEW)
    assert again["kinds"] == figures["kinds"]


def test_every_model_hears_only_what_it_was_trained_without(run, manifest, monkeypatch):
    heard = []

    def listening(network, utterances, features, *, fold, seed):
        heard.append((fold, seed, {utterance.speaker for utterance in utterances}))
        return evaluate(network, utterances, features, fold=fold, seed=seed)

    evaluate = robustness.evaluate_utterances
    monkeypatch.setattr(robustness, "evaluate_utterances", listening)
    measure([run], manifest, FEW[:1])
    assert {(fold, seed) for fold, seed, _ in heard} == {(name, seed) for name in SPEAKERS for seed in range(2)}
    assert all(speakers == {fold} for fold, _, speakers in heard)
    assert len(heard) == 3 * 2 * 3  # folds, seeds, and clean beside two levels


def test_babble_is_of_speakers_in_other_folds(run, manifest, monkeypatch):
    made = []
    babble = Ladder("babble", (0,), lambda snr, voices: made.append(len(voices)) or Noise(snr, "babble", voices))
    read = []
    waveform = robustness._waveform
    monkeypatch.setattr(robustness, "_waveform", lambda u, rate: read.append(u.speaker) or waveform(u, rate))
    measure([run], manifest, [babble])
    assert made == [12, 12, 12]
    for fold, start in zip(SPEAKERS, range(0, 54, 18), strict=True):
        assert set(read[start : start + 6]) == {fold}
        assert set(read[start + 6 : start + 18]) == set(SPEAKERS) - {fold}


def test_runs_may_have_moved_and_share_their_work(run, manifest, tmp_path, figures, monkeypatch):
    copy = tmp_path / "moved"
    shutil.copytree(run, copy)
    predictions = read_predictions(run / "predictions.csv")
    elsewhere = tuple("/elsewhere/" + name.rpartition("/")[2] for name in predictions.files)
    fields = vars(predictions) | {"files": elsewhere}
    write_predictions(copy / "predictions.csv", Predictions(**fields))
    computed = []
    features = robustness._features
    monkeypatch.setattr(robustness, "_features", lambda *a: computed.append(1) or features(*a))
    both = measure([run, copy], manifest, FEW[:1])
    assert [found["run"] for found in both] == ["plain", "moved"]
    assert both[0]["kinds"] == both[1]["kinds"]
    assert len(computed) == 3 * 3  # folds, conditions; not runs


def test_a_model_that_decides_otherwise_than_its_predictions_is_named(run, manifest, tmp_path, capsys):
    copy = tmp_path / "other"
    shutil.copytree(run, copy)
    predictions = read_predictions(run / "predictions.csv")
    wrong = vars(predictions) | {"probabilities": predictions.probabilities[:, ::-1].copy()}
    write_predictions(copy / "predictions.csv", Predictions(**wrong))
    measure([run, copy], manifest, ())
    said = capsys.readouterr().err
    assert "other: its models decide 100.0% of the unchanged recordings otherwise" in said
    assert "plain: its models" not in said


def test_what_does_not_belong_together_is_refused(run, manifest, tmp_path):
    with pytest.raises(ValueError, match="two runs have the same name"):
        measure([run, run], manifest, FEW)
    others = tmp_path / "others.csv"
    write_manifest(others, read_manifest(manifest)[1:])
    with pytest.raises(ValueError, match=r"left out .*anna0\.wav, which is not in .*others\.csv"):
        measure([run], others, FEW)
    copy = tmp_path / "plain"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "ben" / "seed-1")
    with pytest.raises(ValueError, match="predictions of fold 'ben', seed 1, but not its model"):
        measure([copy], manifest, FEW)


def test_a_run_trained_with_conditions_says_so(manifest, tmp_path):
    folder = trained(manifest, tmp_path / "augmented", conditions="noise,telephone", epochs=1)
    [found] = measure([folder], manifest, ())
    assert found["trained_with"] == "noise,telephone"
    assert found["kinds"]["clean"]["ua_deviation"] == [None]
    assert yaml.safe_load((folder / "run.yaml").read_text())["conditions"] == "noise,telephone"


def test_the_command_writes_records_pictures_and_a_table(run, manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(robustness, "LADDERS", FEW)
    monkeypatch.setattr(robustness, "RESULTS", tmp_path / "results")
    robustness.main([run], manifest, tmp_path / "out", protocol="tones", kinds="level, cut", babble=None)
    record = json.loads((tmp_path / "out" / "plain.json").read_text())
    assert list(record["kinds"]) == ["clean", "level", "cut"]
    assert record["versions"]["libsndfile"]
    assert record["data"]["manifest"] == "manifest.csv"
    assert str(tmp_path) not in (tmp_path / "out" / "plain.json").read_text()
    assert json.loads((tmp_path / "results" / "tones" / "plain.json").read_text()) == record
    for name in ("ua.png", "ece.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert "| as recorded |" in (tmp_path / "out" / "table.md").read_text()
    assert "| as recorded |" in capsys.readouterr().out


def made(run, ua, trained_with="none", **kinds):
    def points(strengths):
        n = len(strengths)
        spread = [round(0.01 * (i + 1), 2) for i in range(n)]
        return {
            "strength": list(strengths),
            "ua": [round(ua - 0.05 * i, 3) for i in range(n)],
            "ua_deviation": spread,
            "ece": [0.1] * n,
            "ece_deviation": spread,
        }

    return {
        "run": run,
        "trained_with": trained_with,
        "labels": ["angry", "calm"],
        "folds": 3,
        "seeds": 5,
        "utterances": 18,
        "date": "2026-02-03",
        "command": "python",
        "babble": "speakers of other folds",
        "versions": {"libsndfile": "1.2.2"},
        "commit": "0123456789abcdef",
        "kinds": {"clean": points([0])} | {kind: points(strengths) for kind, strengths in kinds.items()},
    }


def every_kind(run, ua, trained_with="none"):
    return made(run, ua, trained_with, **{ladder.name: ladder.strengths for ladder in LADDERS})


def test_the_table_names_conditions_and_leaves_out_what_nobody_measured():
    lines = robustness_page.table([every_kind("plain", 0.8), made("augmented", 0.7, room=(0.4, 0.8))])
    assert lines[0] == "| UA (ECE) | plain | augmented |"
    assert "| as recorded | 0.800 ± 0.010 (0.10) | 0.700 ± 0.010 (0.10) |" in lines
    assert "| room, RT60 0.8 s | 0.650 ± 0.040 (0.10) | 0.650 ± 0.020 (0.10) |" in lines
    assert "| babble, 0 dB | 0.600 ± 0.050 (0.10) | – |" in lines
    assert not any("Opus" in line for line in robustness_page.table([made("augmented", 0.7, room=(0.4, 0.8))]))


def test_the_table_lists_strengths_that_are_measured():
    strengths = {ladder.name: ladder.strengths for ladder in LADDERS}
    assert robustness_page.PANELS.keys() == strengths.keys()
    for kind, panel in robustness_page.PANELS.items():
        assert set(panel.listed) <= set(strengths[kind])


@pytest.mark.parametrize("quantity", robustness_page.QUANTITIES)
def test_pictures_have_a_panel_for_each_kind_that_was_measured(quantity, monkeypatch):
    titles = []
    save = robustness_page.Figure.savefig

    def saved(figure, *arguments, **options):
        titles.extend(axis.get_title() for axis in figure.axes if axis.axison)
        save(figure, *arguments, **options)

    monkeypatch.setattr(robustness_page.Figure, "savefig", saved)
    some = [made("plain", 0.8, Opus=(32, 8), level=(-30, -20, -10, 10, 20)), made("augmented", 0.7, cut=(1,))]
    assert robustness_page.curves(some, quantity).startswith(b"\x89PNG")
    assert titles == ["level", "Opus", "cut"]


def test_the_page_is_filled_between_its_comments(tmp_path):
    document = tmp_path / "docs" / "results.md"
    document.parent.mkdir()
    document.write_text(f"before\n\n{robustness_page.BEGIN}\noutdated\n{robustness_page.END}\nafter\n")
    results = tmp_path / "results"
    for protocol, name in (("b", "plain"), ("a", "plain"), ("a", "augmented")):
        robustness._write(
            results / protocol / f"{name}.json", every_kind(name, 0.8, "all" if name != "plain" else "none")
        )
    text = robustness_page.filled(document, results)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "outdated" not in text
    assert text.index("**a**") < text.index("**b**")
    assert "| UA (ECE) | augmented | plain |" in text
    assert "augmented: trained with conditions: all; 18 utterances, 3 folds, 5 seeds" in text
    assert "commit 0123456," in text
    for protocol in "ab":
        assert f"(images/robustness-{protocol}.png)" in text
        assert (document.parent / "images" / f"robustness-{protocol}.png").exists()
    document.write_text(text)
    assert robustness_page.filled(document, results) == text


def test_a_page_without_comments_or_results_is_refused(tmp_path):
    document = tmp_path / "results.md"
    document.write_text("nothing")
    with pytest.raises(ValueError, match="lacks the comments"):
        robustness_page.filled(document, tmp_path)
    document.write_text(f"{robustness_page.BEGIN}\n{robustness_page.END}\n")
    with pytest.raises(ValueError, match="no results are kept"):
        robustness_page.filled(document, tmp_path / "results")


def test_records_have_a_line_for_each_list():
    text = robustness_page.as_json(every_kind("plain", 0.8))
    assert json.loads(text) == every_kind("plain", 0.8)
    assert '"strength": [30, 20, 10, 5, 0],\n' in text
    odd = {"command": "python [x]", "empty": [], "names": ["ä", "b]"], "nothing": None}
    assert json.loads(robustness_page.as_json(odd)) == odd


def test_a_codec_that_is_missing_is_left_out_and_named(monkeypatch, capsys):
    monkeypatch.setattr(robustness, "codec_problem", lambda kind: "no libsndfile" if kind == "opus" else None)
    assert [ladder.name for ladder in robustness._chosen("opus, mp3,cut")] == ["MP3", "cut"]
    assert "Opus is left out: no libsndfile" in capsys.readouterr().err


def test_unknown_kinds_are_named():
    with pytest.raises(Exception, match="--kinds names wind"):
        robustness._chosen("wind,room")


def test_absolute_paths_are_shortened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert robustness._short("runs/plain") == "runs/plain"
    assert robustness._short(str(tmp_path / "runs" / "plain")) == "runs/plain"
    assert robustness._short("/somewhere/else.csv") == "else.csv"
