from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ranking import brute_force
from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.evaluate import Evaluation, arrivals, evaluate, sweep
from vtrcli.ranking.methods import DEFAULT_ALPHA, METHODS, MethodName
from vtrcli.ranking.scores import DenseScores, VectorScores
from vtrcli.ranking.truth import Truth

SMALLEST = 8 * 64 * 64 * 4  # bytes of the smallest blocks in single precision


def cosines(num_texts: int, num_videos: int, *, seed: int = 0) -> np.ndarray:
    return 0.4 * np.random.default_rng(seed).random((num_texts, num_videos), dtype=np.float32)


def same_ranks(a: Evaluation, b: Evaluation) -> None:
    assert a.v2t is not None and b.v2t is not None
    np.testing.assert_array_equal(a.t2v.ranks, b.t2v.ranks)
    np.testing.assert_array_equal(a.v2t.ranks, b.v2t.ranks)


def plain(matrix: np.ndarray, truth: Truth, **options: object) -> Evaluation:
    return evaluate(matrix, truth, num_bootstrap=0, **options)  # type: ignore[arg-type]


def test_a_constant_matrix_gives_chance() -> None:
    result = plain(np.full((200, 200), 0.3, np.float32), Truth.diagonal((200, 200)))
    for metrics in (result.t2v, result.v2t):
        assert metrics is not None
        assert metrics.recall == pytest.approx({1: 0.5, 5: 2.5, 10: 5.0, 50: 25.0})
        assert (metrics.mean_rank, metrics.median_rank, metrics.num_ties) == (100.5, 100.5, 200)


@pytest.mark.parametrize(("ties", "rank"), [("optimistic", 1), ("pessimistic", 200)])
def test_a_constant_matrix_under_the_other_rules(ties: str, rank: int) -> None:
    result = plain(np.full((200, 200), 0.3), Truth.diagonal((200, 200)), ties=ties)
    assert result.t2v.mean_rank == rank


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(list(METHODS)), st.integers(1, 2000), st.integers(0, 3))
def test_a_memory_limit_changes_no_rank(method: MethodName, spare_bytes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    texts, videos = generator.standard_normal((150, 16)), generator.standard_normal((90, 16))
    videos[50:60] = videos[3]  # equal videos
    texts[100:110] = texts[7]
    source = VectorScores(
        *((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32) for rows in (texts, videos))
    )
    truth = Truth.from_videos(generator.integers(0, 90, size=150), num_videos=90)
    small = evaluate(
        source, truth, method=method, num_rounds=2, num_bootstrap=0, memory_bytes=SMALLEST + spare_bytes
    )
    large = evaluate(source, truth, method=method, num_rounds=2, num_bootstrap=0)
    same_ranks(small, large)
    assert small.t2v.num_ties == large.t2v.num_ties > 0 or method != "none"


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(list(METHODS)), st.integers(0, 10_000))
def test_the_order_of_rows_and_columns_changes_nothing(method: MethodName, seed: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = cosines(40, 30, seed=seed).astype(np.float64)
    truth = Truth.from_videos(np.arange(40) % 30, num_videos=30)
    rows, columns = generator.permutation(40), generator.permutation(30)
    moved = Truth.from_videos(np.argsort(columns)[np.arange(40)[rows] % 30], num_videos=30)
    before = plain(matrix, truth, method=method, num_rounds=3)
    after = plain(matrix[rows][:, columns], moved, method=method, num_rounds=3)
    assert before.v2t is not None and after.v2t is not None
    np.testing.assert_array_equal(after.t2v.ranks, before.t2v.ranks[rows])
    np.testing.assert_array_equal(after.v2t.ranks, before.v2t.ranks[columns])


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=12), st.data())
def test_one_query_alone_is_left_as_it_is_by_dsl(row: list[float], data: st.DataObject) -> None:
    matrix = np.array([row], np.float32)
    truth = Truth.from_videos([data.draw(st.integers(0, len(row) - 1))], num_videos=len(row))
    ranks = [plain(matrix, truth, method=method).t2v.ranks for method in ("none", "dsl")]
    np.testing.assert_array_equal(*ranks)


def test_one_query_alone_is_chance_under_inverted_softmax() -> None:
    """Its only reference is itself: every video gets the same score."""
    result = plain(cosines(1, 21), Truth.from_videos([4], num_videos=21), method="inverted-softmax")
    assert (result.t2v.mean_rank, result.t2v.num_tied.tolist()) == (11, [20])


def test_dsl_is_the_product_in_both_directions() -> None:
    matrix = 0.3 * np.random.default_rng(2).random((60, 60)) + 0.01
    logits = 100 * matrix
    over_texts = logits * np.exp(logits) / np.exp(logits).sum(axis=0)
    over_videos = logits * np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    result = plain(matrix, Truth.diagonal((60, 60)), method="dsl")
    assert result.v2t is not None
    correct = np.arange(60)
    np.testing.assert_array_equal(
        result.t2v.ranks, 1 + (over_texts > over_texts[correct, correct][:, None]).sum(1)
    )
    np.testing.assert_array_equal(result.v2t.ranks, 1 + (over_videos > over_videos[correct, correct]).sum(0))


def test_several_captions_per_video_in_any_order() -> None:
    generator = np.random.default_rng(0)
    videos = generator.integers(0, 20, size=100)
    matrix = cosines(100, 20)
    result = plain(matrix, Truth.from_videos(videos, num_videos=20))
    correct = matrix[np.arange(100), videos]
    np.testing.assert_array_equal(result.t2v.ranks, 1 + (matrix > correct[:, None]).sum(axis=1))
    assert result.v2t is not None and result.v2t.num_queries == len(np.unique(videos))


def test_videos_without_text_are_rivals_but_no_queries() -> None:
    result = plain(cosines(3, 5), Truth.from_videos([0, 1, 4], num_videos=5))
    assert result.v2t is not None and result.v2t.num_queries == 3
    assert result.warnings == ("2 of 5 videos have no text: they are no queries for v2t",)


@pytest.mark.parametrize(
    ("matrix", "scale"), [(cosines(4, 4), 100.0), (30 * cosines(4, 4), 1.0), (-cosines(4, 4), 100.0)]
)
def test_the_logit_scale_is_detected(matrix: np.ndarray, scale: float) -> None:
    assert plain(matrix, Truth.diagonal((4, 4))).logit_scale == scale


def test_scaled_scores_give_the_ranks_of_their_cosines() -> None:
    truth = Truth.diagonal((50, 50))
    matrix = cosines(50, 50).astype(np.float64)
    same_ranks(plain(matrix, truth, method="dsl"), plain(100 * matrix, truth, method="dsl"))


@pytest.mark.parametrize("deviation", [0.02, 0.9, 1.1, 24.0, 300.0])
def test_scores_of_an_unknown_unit_get_the_scale_that_makes_them_spread_as_logits(deviation: float) -> None:
    matrix = 3 + deviation * np.random.default_rng(0).standard_normal((80, 80))  # above 1: no cosines
    scale = plain(matrix, Truth.diagonal((80, 80)), method="dsl").logit_scale
    assert scale == (1 if 1 <= deviation <= 25 else pytest.approx(2.57 / deviation, rel=0.05))


def test_what_scores_were_taken_for_is_said() -> None:
    truth, matrix = Truth.diagonal((80, 80)), cosines(80, 80)
    told = {
        name: plain(scores, truth, method="dsl").warnings
        for name, scores in {
            "cosines": matrix,
            "flat cosines": 0.5 + matrix / 100,
            "logits": 100 * matrix,
            "between": 5 * matrix,
            "far above": 1e4 * matrix,
        }.items()
    }
    assert told["cosines"] == ()
    assert told["flat cosines"] == (
        "scores within -1 and 1 are taken as cosines and multiplied by 100, but a text's scores deviate by 0.0012 and "
        "CLIP's by about 0.026: --logit-scale sets another factor",
    )
    assert told["logits"] == (
        "scores up to 40 are no cosines and are taken as logits: --logit-scale multiplies them",
    )
    for name, bound in (("between", "2"), ("far above", "4e\\+03")):
        assert len(told[name]) == 1
        assert re.match(
            rf"scores up to {bound} are neither cosines nor logits, by their spread: they are multiplied by [0-9.]+, "
            r"so that they spread as 100 x CLIP's cosines do; --logit-scale sets another factor",
            told[name][0],
        )
    assert plain(5 * matrix, truth, method="dsl", logit_scale=20.0).warnings == ()
    assert plain(5 * matrix, truth).warnings == ()  # plain ranks know no scale


def test_padding_is_ranked_last_and_changes_nothing_else() -> None:
    generator = np.random.default_rng(3)
    matrix = 0.4 * generator.random((40, 30))
    truth = Truth.from_videos(np.arange(40) % 30, num_videos=30)
    padded = np.concatenate([matrix, np.full((40, 7), -np.inf)], axis=1)
    wide = Truth.from_videos(np.arange(40) % 30, num_videos=37)
    for method in METHODS:
        before, after = plain(matrix, truth, method=method), plain(padded, wide, method=method)
        same_ranks(before, after)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "qb-norm"])
@pytest.mark.parametrize("memory_bytes", [SMALLEST, 1 << 30])
def test_unscored_pairs_count_as_nothing_in_every_correction(method: MethodName, memory_bytes: int) -> None:
    generator = np.random.default_rng(4)
    matrix = 0.4 * generator.random((150, 150))
    matrix[generator.random(matrix.shape) < 0.3] = -np.inf
    np.fill_diagonal(matrix, 0.4 * generator.random(150))
    result = plain(
        matrix, Truth.diagonal((150, 150)), method=method, num_rounds=3, memory_bytes=2 * memory_bytes
    )
    k = METHODS[method].default_k or 1
    own = [{place} for place in range(150)]
    with np.errstate(invalid="ignore"):  # -inf x 0 in the product of dsl
        for metrics, turned in ((result.t2v, matrix), (result.v2t, matrix.T)):
            scores = brute_force.corrected(turned, method, k=k, num_rounds=3)
            scores[~np.isfinite(turned)] = -np.inf
            assert metrics is not None
            np.testing.assert_array_equal(metrics.ranks, brute_force.ranks(scores, own, tied_before=0.5))


def test_a_right_answer_cannot_be_padding() -> None:
    matrix = cosines(5, 5)
    matrix[2, 3] = matrix[4, 4] = -np.inf
    with pytest.raises(InputError) as caught:
        plain(matrix, Truth.diagonal((5, 5)))
    assert str(caught.value) == (
        "row 4 of the similarity matrix holds -infinity at column 4, where its own video is; -infinity marks padding, "
        "which no right answer can be; check that rows and columns stand in the order of the mapping"
    )
    with pytest.raises(InputError, match="row 4 of the similarity matrix holds -infinity"):
        arrivals(matrix, Truth.diagonal((5, 5)), [1])
    matrix[4, 4] = 0.1
    matrix[0, 1] = np.inf
    with pytest.raises(InputError, match="row 0 of the similarity matrix holds infinity at column 1"):
        plain(matrix, Truth.diagonal((5, 5)))


def test_a_bank_has_no_padding() -> None:
    bank = cosines(9, 5)
    bank[3, 2] = -np.inf
    with pytest.raises(InputError, match="row 3 of the similarity matrix holds infinity at column 2"):
        plain(cosines(5, 5), Truth.diagonal((5, 5)), method="nnn", bank=bank)


def test_what_was_called_dual_is_has_the_name_of_what_it_is() -> None:
    with pytest.raises(
        UsageError, match=r"method 'dual-is'; known are .*mutual-softmax; choose one of them; what vtr"
    ):
        plain(cosines(3, 3), Truth.diagonal((3, 3)), method="dual-is")


def test_rows_of_nnn_say_their_alpha() -> None:
    rows = plain(cosines(20, 20), Truth.diagonal((20, 20)), method="nnn", alpha=0.5).to_json()
    assert [row["alpha"] for row in rows] == [0.5, 0.5]


def test_a_forgotten_logit_scale_is_pointed_out() -> None:
    result = plain(cosines(4, 4), Truth.diagonal((4, 4)), method="dsl", logit_scale=1.0)
    assert result.warnings == (
        "a logit scale of 1 leaves cosines so close together that the softmax is almost even and dsl does little; "
        "CLIP's scale is 100",
    )


def test_a_small_bank_is_pointed_out_with_the_reason() -> None:
    result = plain(cosines(30, 30), Truth.diagonal((30, 30)), method="nnn", bank=cosines(10, 30, seed=1))
    assert result.warnings == (
        "t2v: a bank of 10 texts for 30 videos is small: many videos are claimed by no query of the bank, and the "
        "correction may do harm",
        "v2t is left out: the bank holds texts, and correcting v2t needs a bank of videos",
    )
    assert (result.v2t, result.transductive) == (None, False)


def test_banks_for_both_directions() -> None:
    truth = Truth.from_videos([2, 0, 1, 2], num_videos=3)
    banks = {"bank": cosines(9, 3, seed=1), "video_bank": cosines(4, 9, seed=2)}
    result = plain(cosines(4, 3), truth, method="inverted-softmax", **banks)
    assert result.v2t is not None and not result.transductive
    # Each query on its own gives the same: nothing depends on the other queries.
    alone = plain(
        cosines(4, 3)[1:2],
        Truth.from_videos([0], num_videos=3),
        method="inverted-softmax",
        bank=banks["bank"],
    )
    assert alone.t2v.ranks[0] == result.t2v.ranks[1]


# Texts of videos 0 1 1 1 2 2. Video 0's own caption has .45; two captions of video 1 lie above it.
SEVERAL = np.array(
    [[0.45, 0.1, 0.2], [0.5, 0.8, 0.1], [0.5, 0.7, 0.2], [0.1, 0.6, 0.3], [0.1, 0.2, 0.55], [0.2, 0.3, 0.65]]
)


def test_video_to_text_counts_videos_by_their_best_caption_unless_asked_for_captions() -> None:
    truth = Truth.from_videos([0, 1, 1, 1, 2, 2], num_videos=3)
    found = {over: plain(SEVERAL, truth, v2t_over=over).v2t for over in (None, "videos", "captions")}
    told = {key: (row.over, row.ranks.tolist(), round(row.mean_rank, 3)) for key, row in found.items() if row}
    assert told == {
        None: ("videos", [2, 1, 1], 1.333),
        "videos": ("videos", [2, 1, 1], 1.333),
        "captions": ("captions", [3, 1, 1], 1.667),
    }
    assert plain(SEVERAL, truth).t2v.over == "videos"


def test_with_one_caption_per_video_the_two_ways_are_one() -> None:
    matrix, truth = np.round(cosines(40, 40), 1), Truth.diagonal((40, 40))
    ways = [plain(matrix, truth, method="dsl", v2t_over=over) for over in (None, "videos", "captions")]
    assert [way.v2t.over for way in ways if way.v2t] == ["captions", "videos", "captions"]
    same_ranks(ways[0], ways[1])
    same_ranks(ways[0], ways[2])


@pytest.mark.parametrize("method", list(METHODS))
def test_corrections_correct_captions_and_the_best_one_stands_for_its_video(method: MethodName) -> None:
    generator = np.random.default_rng(5)
    matrix = 0.4 * generator.random((40, 12))
    video_of_text = generator.integers(0, 11, size=40)  # the last video has no text
    result = plain(
        matrix,
        Truth.from_videos(video_of_text, num_videos=12),
        method=method,
        k=1 if method != "none" else None,
    )
    corrected = brute_force.corrected(matrix.T, method, k=1, alpha=DEFAULT_ALPHA).T
    expected = brute_force.ranks_over_videos(corrected, video_of_text, tied_before=0.5)
    assert result.v2t is not None
    np.testing.assert_array_equal(result.v2t.ranks, expected)


def test_a_text_of_several_videos_cannot_be_ranked_over_videos() -> None:
    truth = Truth.from_pairs([(0, 0), (0, 1), (1, 1)], num_texts=2, num_videos=2)
    result = plain(cosines(2, 2), truth)
    assert result.v2t is not None and result.v2t.over == "captions"
    with pytest.raises(UsageError) as caught:
        plain(cosines(2, 2), truth, v2t_over="videos")
    assert str(caught.value) == (
        "v2t over videos, but some texts belong to several videos; a rank over videos needs one video per text; "
        "use --v2t-over captions"
    )


def test_the_captions_of_a_video_are_resampled_together() -> None:
    truth = Truth.from_videos(np.repeat(np.arange(30), 4), num_videos=30)
    result = evaluate(cosines(120, 30), truth)
    assert result.v2t is not None
    assert (result.t2v.num_queries, result.t2v.num_clusters, result.v2t.num_clusters) == (120, 30, 30)
    assert result.t2v.clusters.tolist() == np.repeat(np.arange(30), 4).tolist()


def test_rows_for_json_say_how_they_were_made() -> None:
    rows = plain(cosines(20, 20), Truth.diagonal((20, 20)), method="dsl", temperature=2.0).to_json()
    assert [row["direction"] for row in rows] == ["t2v", "v2t"]
    assert list(rows[0])[:4] == ["direction", "method", "temperature", "transductive"]
    assert (rows[0]["method"], rows[0]["temperature"], rows[0]["transductive"]) == ("dsl", 2.0, True)
    plain_row = plain(cosines(20, 20), Truth.diagonal((20, 20))).to_json()[0]
    assert (plain_row["temperature"], plain_row["transductive"]) == (None, False)


def test_sweep_evaluates_each_temperature() -> None:
    results = sweep(cosines(20, 20), Truth.diagonal((20, 20)), [0.5, 1, 2], method="dsl", num_bootstrap=0)
    assert [result.temperature for result in results] == [0.5, 1, 2]


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_must_be_above_0(temperature: float) -> None:
    with pytest.raises(
        UsageError, match="a temperature of .*; a temperature is a number above 0; it divides"
    ):
        plain(cosines(3, 3), Truth.diagonal((3, 3)), method="dsl", temperature=temperature)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "dls"}, "method 'dls'; known are none, dsl, inverted-softmax"),
        ({"logit_scale": 0.0}, "a logit scale of 0; it multiplies the scores and is a number above 0"),
        ({"num_rounds": 0, "method": "sinkhorn"}, "0 Sinkhorn rounds; at least 1 is needed"),
        ({"k": 4, "method": "csls"}, "k = 4; there are 3 neighbours to look at; use 1 to 3"),
        (
            {"temperature": 1e-38, "method": "dsl"},
            "a temperature of 1e-38 with scores up to .* must fit in float32",
        ),
        (
            {"memory_bytes": 1000},
            "a memory limit of 1000 bytes; the smallest block needs 131072 bytes; raise the",
        ),
        ({"method": "dsl", "video_bank": cosines(3, 3)}, "a bank of videos but none of texts"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plain(cosines(3, 3), Truth.diagonal((3, 3)), **options)


def test_a_truth_for_another_matrix_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"the scores: an array of shape \(3, 4\); 4 texts \(rows\) and 3 videos"
    ):
        plain(cosines(3, 4), Truth.from_videos([0, 1, 2, 0], num_videos=3))


def test_a_bank_for_other_videos_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"the bank of texts: an array of shape \(5, 2\); any number of texts"
    ):
        plain(cosines(3, 3), Truth.diagonal((3, 3)), method="nnn", bank=cosines(5, 2))


def test_nan_is_never_ranked() -> None:
    matrix = cosines(5, 5)
    matrix[3, 1] = np.nan
    with pytest.raises(InputError, match="row 3 of the similarity matrix holds NaN at column 1"):
        plain(matrix, Truth.diagonal((5, 5)))


@pytest.mark.slow
def test_the_memory_limit_is_kept(tmp_path: Path) -> None:
    """A mapped matrix of 16 MB; blocks of 8 x 64 x 64 x 4 bytes and a few numbers per text and video."""
    path = tmp_path / "scores.npy"
    np.save(path, cosines(2000, 2000))
    source, truth = DenseScores(np.load(path, mmap_mode="r")), Truth.diagonal((2000, 2000))
    tracemalloc.start()
    evaluate(source, truth, method="dsl", memory_bytes=SMALLEST, num_bootstrap=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < SMALLEST + 2000 * 400


MATRIX = 0.4 * np.random.default_rng(0).random((30, 20), dtype=np.float32)
TRUTH = Truth.from_videos(np.arange(30) % 20, num_videos=20)


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_one_at_a_time_dsl_is_the_plain_result(direction: str) -> None:
    (alone,) = arrivals(MATRIX, TRUTH, [1], direction=direction)  # type: ignore[arg-type]
    plain = getattr(evaluate(MATRIX, TRUTH), direction)
    assert (alone.recall, alone.mean_rank, alone.num_shuffles) == (plain.recall, plain.mean_rank, 1)


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("method", ["dsl", "csls", "sinkhorn"])
def test_all_at_once_is_the_transductive_result(direction: str, method: str) -> None:
    results = arrivals(MATRIX, TRUTH, [30, 500], direction=direction, method=method)  # type: ignore[arg-type]
    whole = getattr(evaluate(MATRIX, TRUTH, method=method), direction)  # type: ignore[arg-type]
    for result in results:
        assert (result.recall, result.mean_rank) == (whole.recall, whole.mean_rank)


def test_a_batch_knows_only_its_own_queries() -> None:
    (result,) = arrivals(MATRIX, TRUTH, [10], num_shuffles=1, seed=7)
    order = np.random.default_rng(7).permutation(30)
    ranks = [
        evaluate(MATRIX[batch], TRUTH.take_texts(batch), method="dsl").t2v.ranks
        for batch in (order[:10], order[10:20], order[20:])
    ]
    assert result.mean_rank == np.concatenate(ranks).mean()


def test_plain_scores_do_not_mind_batches() -> None:
    results = arrivals(MATRIX, TRUTH, [1, 7, 30], method="none")
    assert len({result.mean_rank for result in results}) == 1


def test_shuffles_are_seeded() -> None:
    assert arrivals(MATRIX, TRUTH, [4], seed=1) == arrivals(MATRIX, TRUTH, [4], seed=1)
    assert arrivals(MATRIX, TRUTH, [4], seed=1) != arrivals(MATRIX, TRUTH, [4], seed=2)


def test_a_chosen_k_shrinks_with_the_batch() -> None:
    assert len(arrivals(MATRIX, TRUTH, [2, 30], method="csls", k=20)) == 2


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(
        UsageError, match="a batch of 0 queries; queries come at least one at a time; use 1 or more"
    ):
        arrivals(MATRIX, TRUTH, [0])
