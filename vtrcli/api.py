"""The functions of `import vtrcli as vtr`: one per use case, with plain arguments. The commands call the same ones.

Importing this module loads neither NumPy nor torch. Names and defaults are those of the settings that each docstring
names. From Python nothing is looked for: no vtr.toml, no newest run; what is not given is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtrcli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from vtrcli.datasets.moments import MomentTruth
    from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationResult
    from vtrcli.evaluation.moments import MomentEvaluation, MomentInputs
    from vtrcli.extraction.extract import ExtractResult
    from vtrcli.model.heads import Head
    from vtrcli.model.runs import RunConfig
    from vtrcli.moments.metrics import AveragePrecision, First, WindowTies
    from vtrcli.ranking.methods import MethodName
    from vtrcli.ranking.truth import Truth
    from vtrcli.searching.query import Query, SearchMethod, VideoScore
    from vtrcli.searching.results import SearchResult
    from vtrcli.searching.searcher import Searcher
    from vtrcli.searching.several import StoresSearcher
    from vtrcli.text.streams import TaggerName
    from vtrcli.training.record import Display, TrainResult
    from vtrcli.video.graph import Aspect
    from vtrcli.video.sampling import Sampling

AnyPath = str | PathLike[str]


def extract(
    videos: AnyPath | Iterable[AnyPath],
    store: AnyPath,
    *,
    backbone: str | None = None,
    fps: float | None = None,
    min_frames: int | None = None,
    frames: int | None = None,
    keyframes: bool = False,
    max_frames: int | None = None,
    sampling: Sampling | None = None,
    aspect: Aspect | None = None,
    similar_frames: float | None = None,
    prune: bool = False,
    **settings: Any,
) -> ExtractResult:
    """Decode new and changed videos and store the features of their frames; run it as often as you like.

    Args:
        videos: files and folders; folders are searched below.
        backbone, aspect: None: the store's, else ViT-B/32 and `display`.
        fps, min_frames, frames, keyframes, max_frames: which frames, see the plans in `vtrcli.video.sampling`; or
            `sampling`, one of these or of your own. None of them: the store's, else `Rate` with its defaults.
        similar_frames: None: the store's, else 0: only equal frames of a video are encoded once. More: those that
            differ by no more, see `vtrcli.extraction.extract.extract`.
        prune: take videos whose files are gone from `videos` out of the store.
        **settings: device, precision, keep_frames, keep_size, renew_frames, num_workers, batch_size, timeout_seconds,
            retry_failed, exclude, part, on_progress and the others of `vtrcli.extraction.extract.extract`, as it says.

    Raises:
        UsageError: two ways of choosing frames.
        InputError: a path does not exist, or no video was found.
        StoreError: the store is of another backbone or sampling, damaged, or cannot be written.
        WeightsError: the backbone cannot be loaded.
    """
    from vtrcli.extraction.extract import extract as extract_features
    from vtrcli.extraction.settings import follow_store
    from vtrcli.video.sampling import chosen_sampling

    chosen = chosen_sampling(
        fps=fps, min_frames=min_frames, frames=frames, keyframes=keyframes, max_frames=max_frames
    )
    if sampling is not None and chosen is not None:
        raise UsageError(
            f"a sampling and {chosen.describe()}",
            allowed="one way of choosing frames",
            to_do="give a sampling alone, or none",
        )
    name, sampling, shape, similar = follow_store(
        Path(store), backbone, sampling or chosen, aspect, similar_frames
    )
    return extract_features(
        _paths(videos),
        store=Path(store),
        backbone=name,
        sampling=sampling,
        aspect=shape,
        similar_frames=similar,
        prune_missing=prune,
        **settings,
    )


def train(
    store: AnyPath,
    *,
    dataset: str,
    annotations: AnyPath,
    out: AnyPath,
    recipe: str | None = None,
    backbone: str | None = None,
    tagger: TaggerName = "hanta",
    device: str = "auto",
    resume: bool = False,
    allow_missing: bool = False,
    tensorboard: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    display: Display | None = None,
    **settings: Any,
) -> TrainResult:
    """Train CAMoE on cached features (captions not cached yet are encoded first), or the backbone too (`finetune`).

    Args:
        dataset, annotations: a data set's name and the folder of its files; `csv` or `jsonl` for your own.
        out: the run folder to make, or with `resume` to go on with.
        recipe: published settings: msrvtt, msvd, lsmdc, didemo, activitynet, demo.
        backbone: what `finetune` starts from; None: the store's.
        should_stop: asked after every step; when it says so, the state is saved and the result returned.
        **settings: epochs, steps, batch_size, learning_rate, frames, dsl_temperature and the others of `TrainSettings`,
            over the recipe's, over its defaults. A resumed run takes epochs or steps alone.

    Raises:
        UsageError, InputError: settings, data set, or missing videos (unless `allow_missing`).
        StoreError, WeightsError: store, run or weights; InputError when the loss is no longer finite.
    """
    from vtrcli.model.train_settings import recipe_settings
    from vtrcli.training.train import train as train_run

    if "frames" in settings:  # as the command calls it
        settings["num_frames"] = settings.pop("frames")
    length = {name: settings[name] for name in ("epochs", "steps") if resume and name in settings}
    return train_run(
        store=Path(store),
        dataset=dataset,
        annotations=Path(annotations),
        out=Path(out),
        settings=recipe_settings(recipe, settings),
        backbone=backbone,
        recipe=recipe,
        tagger=tagger,
        device=device,
        resume=resume,
        allow_missing=allow_missing,
        tensorboard=tensorboard,
        should_stop=should_stop,
        display=display,
        **length,
    )


def evaluate(
    similarities: AnyPath | np.ndarray | None = None,
    *,
    text_vectors: AnyPath | np.ndarray | None = None,
    video_vectors: AnyPath | np.ndarray | None = None,
    text_to_video: AnyPath | Sequence[int] | np.ndarray | Truth | None = None,
    trec: AnyPath | None = None,
    qrels: AnyPath | None = None,
    relevant_from: int | None = None,
    num_videos: int | None = None,
    bank: AnyPath | np.ndarray = "test",
    store: AnyPath | None = None,
    run: AnyPath | None = None,
    dataset: str | None = None,
    annotations: AnyPath | None = None,
    split: str = "test",
    tagger: TaggerName = "hanta",
    max_tokens: int | None = None,
    allow_missing: bool = False,
    device: str = "auto",
    dsl: bool = False,
    methods: Sequence[MethodName] = (),
    **settings: Any,
) -> EvaluationResult:
    """Metrics in both directions, plain and corrected side by side: any model's scores, or a data set by a store.

    Args:
        similarities: scores [num_texts, num_videos], as an array or a file.
        text_vectors, video_vectors: [num_texts, dim] and [num_videos, dim] instead; their cosines are evaluated.
        text_to_video: int [num_texts], each text's video; int [num_pairs, 2], pairs of text and video; a file of
            either; None: what was saved beside the matrix, else the diagonal.
        trec, qrels: a run and its truth by ids, in the formats of TREC, ranx or BEIR (`docs/evaluation.md`).
        relevant_from: the lowest grade of the qrels that is right; None: 1.
        num_videos: how many were ranked, where run and qrels do not name all.
        bank: `test`, `train` (with a store), or scores (vectors) of other texts with the same videos.
        store, run, dataset, annotations, split: instead of scores; without a run zero-shot, by the mean of frames.
        tagger, max_tokens, allow_missing: of a data set, as for training.
        methods: corrections; `dsl` is short for the one of that name.
        **settings: temperature, logit_scale, ties, v2t_over, num_bootstrap, seed and the others of
            `vtrcli.evaluation.evaluate.EvaluationSettings`, with its defaults.

    Raises:
        UsageError: arguments that do not fit together, or numbers out of bounds.
        InputError: scores, a data set or videos that are missing or cannot be used.
        StoreError, WeightsError: store, run or weights; a run that does not fit the store.
    """
    from vtrcli.evaluation.evaluate import EvaluationSettings, evaluate_inputs
    from vtrcli.evaluation.inputs import from_store

    # A device that cannot be used is refused before anything is read. Choosing one needs torch, and a matrix does not.
    if device != "auto":
        from vtrcli.model.backbone import choose_device

        choose_device(device)
    names: tuple[MethodName, ...] = (*(("dsl",) if dsl else ()), *methods)
    options = EvaluationSettings(methods=names, **settings)
    given = (similarities, text_vectors, video_vectors, text_to_video)
    if trec is not None or qrels is not None or relevant_from is not None or num_videos is not None:
        from vtrcli.evaluation.inputs import from_run

        lacks = "--trec RUN" if trec is None else "--qrels QRELS" if qrels is None else ""
        if trec is None or qrels is None or any(one is not None for one in given) or bank != "test":
            raise UsageError(
                f"a run with {f'no {lacks}' if lacks else 'scores, a mapping or a bank from other files'}",
                allowed="--trec RUN with --qrels QRELS, and with them --relevant-from and --num-videos",
                to_do=f"add {lacks}" if lacks else "keep one of the two",
            )
        run_inputs = from_run(trec, qrels, split=split, relevant_from=relevant_from, num_videos=num_videos)
        return evaluate_inputs(run_inputs, options)
    if similarities is not None or text_vectors is not None or video_vectors is not None:
        inputs = _given_scores(similarities, text_vectors, video_vectors, text_to_video, bank)
        return evaluate_inputs(inputs, options)
    if store is None or dataset is None or annotations is None:
        raise UsageError(
            "nothing to evaluate",
            allowed="scores, vectors of texts and videos, or a store with a data set and its annotations",
            to_do="call vtr.evaluate(matrix), or vtr.evaluate(store=…, dataset=…, annotations=…)",
        )
    if not (isinstance(bank, str) and bank in ("test", "train")):
        raise UsageError(
            f"--bank {_shown(bank)} with a data set",
            allowed="test or train",
            to_do="use `--bank train`, or evaluate a saved matrix with a bank file",
        )
    inputs = from_store(
        Path(store),
        run=None if run is None else Path(run),
        dataset=dataset,
        annotations=Path(annotations),
        split=split,
        tagger=tagger,
        max_tokens=max_tokens,
        device=device,
        allow_missing=allow_missing,
        use_train_bank=bank == "train",
    )
    return evaluate_inputs(inputs, options)


def _given_scores(
    similarities: AnyPath | np.ndarray | None,
    text_vectors: AnyPath | np.ndarray | None,
    video_vectors: AnyPath | np.ndarray | None,
    text_to_video: AnyPath | Sequence[int] | np.ndarray | Truth | None,
    bank: AnyPath | np.ndarray,
) -> EvaluationInputs:
    """Scores from arrays or files. Raises UsageError when the arguments do not fit together."""
    from vtrcli.evaluation.inputs import from_matrix, from_vectors

    is_name = isinstance(bank, str)
    if is_name and bank == "train":
        raise UsageError(
            "--bank train with scores from files",
            allowed="test, or a file of the bank's scores (vectors with --text-vectors)",
            to_do="give the file, or leave --bank out",
        )
    others = None if is_name and bank == "test" else bank
    if similarities is not None and text_vectors is None and video_vectors is None:
        return from_matrix(similarities, text_to_video=text_to_video, bank=others)
    if similarities is None and text_vectors is not None and video_vectors is not None:
        return from_vectors(text_vectors, video_vectors, text_to_video=text_to_video, bank=others)
    raise UsageError(
        "--similarities and vectors together, or only one side's vectors",
        allowed="--similarities FILE, or --text-vectors FILE with --video-vectors FILE",
        to_do="keep one of the two",
    )


def evaluate_moments(
    predictions: AnyPath | None = None,
    *,
    truth: AnyPath | None = None,
    dataset: str | None = None,
    annotations: AnyPath | None = None,
    split: str | None = None,
    store: AnyPath | None = None,
    run: AnyPath | None = None,
    corpus: bool = False,
    allow_missing: bool = False,
    first: First = "listed",
    max_windows: int | None = 10,
    ties: WindowTies = "listed",
    ap: AveragePrecision = "interpolated",
    tagger: TaggerName = "hanta",
    max_tokens: int | None = None,
    device: str = "auto",
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
    **settings: Any,
) -> MomentEvaluation:
    """Metrics of moments (docs/moments.md): of anybody's predictions, or of what a store answers.

    Args:
        predictions: a file in QVHighlights' or TVR's layout; None: the store answers.
        truth: a file in either layout, or of your own captions with times; or `dataset` (qvhighlights, charades,
            activitynet, tacos, tvr, csv, jsonl) with `annotations`, the folder of its files or the file itself, and
            `split` (None: the one results are given of).
        store: whose frames answer; with predictions: whose frames the report shows.
        corpus, run: also search all videos of the truth, ranked by a trained run if there is one.
        allow_missing: leave out queries that predictions or store lack, and those that the truth lacks.
        first, max_windows, ties, ap: see `vtrcli.moments.metrics.Conventions`.
        **settings: num_bootstrap, seed: see `vtrcli.evaluation.moments.MomentSettings`.

    Raises:
        UsageError: arguments that do not fit together.
        InputError: files that are missing or cannot be used, other queries or videos than the truth's.
        StoreError, WeightsError: store, run or weights.
    """
    from vtrcli.evaluation.moments import MomentInputs, MomentSettings, evaluate_moments
    from vtrcli.moments.files import read_predictions
    from vtrcli.moments.metrics import Conventions

    how = Conventions(first=first, max_windows=max_windows, ties=ties, ap=ap)
    true, split = _moment_truth(truth, dataset, annotations, split)
    if predictions is None and store is None:
        raise UsageError(
            "no moments to evaluate",
            allowed="a file of predictions, or a store that answers",
            to_do="give --moments FILE, or --moments with --store",
        )
    if predictions is not None:
        given = read_predictions(Path(predictions), true, conventions=how, allow_missing=allow_missing)
        inputs = MomentInputs(given, model=str(predictions), dataset=dataset, split=split)
        if store is not None:
            inputs = _with_store(inputs, Path(store))
    else:
        from vtrcli.evaluation.moments_of_store import predict_from_store

        assert store is not None
        inputs = predict_from_store(
            Path(store),
            true,
            dataset=dataset,
            split=split,
            run=None if run is None else Path(run),
            corpus=corpus,
            tagger=tagger,
            max_tokens=max_tokens,
            device=device,
            allow_missing=allow_missing,
            on_progress=on_progress,
        )
    return evaluate_moments(inputs, MomentSettings(conventions=how, **settings))


def _moment_truth(
    truth: AnyPath | None, dataset: str | None, annotations: AnyPath | None, split: str | None
) -> tuple[MomentTruth, str | None]:
    """From a file, or of a data set with the name of its split. Raises UsageError without either."""
    from vtrcli.datasets.moment_sets import load_moments, read_truth

    if truth is not None:
        return read_truth(Path(truth)), split
    if dataset is None or annotations is None:
        raise UsageError(
            "no truth to compare the moments with",
            allowed="--truth FILE, or a data set of moments with the folder of its files",
            to_do="add --truth, or --dataset and --annotations",
        )
    return load_moments(dataset, Path(annotations), split)


def _with_store(inputs: MomentInputs, store: Path) -> MomentInputs:
    """Predictions with the store that has frames of their videos; videos that it lacks have none."""
    from dataclasses import replace

    from vtrcli.evaluation.moments_of_store import join_queries
    from vtrcli.store.reader import FeatureStore

    opened, truth = FeatureStore(store), inputs.predictions.truth
    stored = {caption.caption_id: caption.video_id for caption in join_queries(truth, opened).captions}
    return replace(
        inputs, store=opened, store_ids=tuple(stored.get(str(query), "") for query in range(len(truth)))
    )


def search(
    query: str | Query,
    store: AnyPath | Sequence[AnyPath],
    *,
    run: AnyPath | None = None,
    dsl: bool = False,
    method: SearchMethod | None = None,
    score: VideoScore | None = None,
    device: str = "auto",
    **settings: Any,
) -> SearchResult:
    """Rank the videos of a store (or several of one backbone) by a sentence. For many queries make a `vtr.Searcher`.

    Args:
        query: a sentence, or `vtr.Query(text=…, plus=…, minus=…, images=…, like=…)`.
        run: a trained run that ranks; None: plain CLIP.
        method: a correction by the store's query bank; `dsl` is short for the one of that name.
        score: how frames become a video's score, for plain CLIP: max, mean or softmax; None: max.
        **settings: then=[…] and within_seconds of a `vtr.Query`; top_k, moments, per_video, filters (`vtr.Filters`),
            min_relevance, missing: see `vtrcli.searching.query.SearchSettings`, with its defaults.

    Raises:
        InputError, UsageError: a query that cannot be used, or arguments that do not fit together.
        StoreError: no store, a damaged one, one without videos, or one of another backbone than the run's.
        WeightsError: no run there, or the backbone's weights are missing.
    """
    from vtrcli.searching.query import SearchSettings, chosen_method, followed_by

    query = followed_by(query, settings.pop("then", ()), settings.pop("within_seconds", None))
    options = SearchSettings(method=chosen_method(method, dsl=dsl), **settings)
    return open_searcher(store, run=run, score=score, device=device).search(query, options)


def open_searcher(
    store: AnyPath | Sequence[AnyPath],
    *,
    run: AnyPath | None = None,
    score: VideoScore | None = None,
    device: str = "auto",
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> Searcher | StoresSearcher:
    """What answers many queries to a store (or several of one backbone). Arguments and errors as for `search`."""
    from vtrcli.searching.query import POOLING

    if run is not None and score is not None:
        raise UsageError(
            f"--score {score} with --run {run}", allowed="a run scores whole videos", to_do="leave one out"
        )
    stores, chosen = _paths(store), None if run is None else Path(run)
    how: dict[str, Any] = {"device": device, "on_progress": on_progress, "pooling": score or POOLING}
    if len(stores) > 1:
        from vtrcli.searching.several import StoresSearcher

        return StoresSearcher(stores, run=chosen, **how)
    from vtrcli.searching.searcher import Searcher

    return Searcher(stores[0], run=chosen, **how)


def load_run(run: AnyPath, *, device: str = "cpu") -> tuple[Head, RunConfig]:
    """The best model of a run, a torch module ready for evaluation, and what its config.json says.

    Raises:
        WeightsError: no run, or one that is damaged or of a newer vtr.
    """
    from vtrcli.model.runs import load_head

    return load_head(Path(run), device=device)


def encode_texts(
    texts: Sequence[str], store: AnyPath, *, max_tokens: int | None = None, device: str = "auto"
) -> np.ndarray:
    """Features of texts by the backbone that made a store's: float32 [num_texts, dim], not normalised.

    Args:
        max_tokens: of a text, start and end included; None: all that the backbone reads.

    Raises:
        StoreError, WeightsError: no store, or its backbone's weights are missing or changed.
    """
    from vtrcli.model.families import open_text_tower
    from vtrcli.store.reader import FeatureStore

    tower = open_text_tower(FeatureStore(Path(store)), device=device)
    return tower.encode_texts(list(texts), max_tokens=max_tokens).features


def _paths(given: AnyPath | Iterable[AnyPath]) -> list[Path]:
    return [Path(given)] if isinstance(given, (str, PathLike)) else [Path(path) for path in given]


def _shown(value: object) -> str:
    return str(value) if isinstance(value, (str, PathLike)) else f"of type {type(value).__name__}"
