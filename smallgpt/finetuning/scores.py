"""Scores of answers, by `torchmetrics`: of labels, of answers to questions, of summaries and other texts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smallgpt.evaluation.measures import rate

CALIBRATION_BINS = 15


def label_scores(probability_NC: Tensor, label_N: Tensor) -> dict[str, Any]:
    """Accuracy with its interval, macro F1, Matthews' correlation and calibration error of predicted labels.

    Args:
        probability_NC: probability of each label of each example.
        label_N: numbers of the right labels.
    """
    from torchmetrics.functional.classification import (
        multiclass_calibration_error,
        multiclass_confusion_matrix,
        multiclass_f1_score,
        multiclass_matthews_corrcoef,
    )

    classes = probability_NC.shape[1]
    predicted_N = probability_NC.argmax(-1)
    varied = len(predicted_N.unique()) > 1 and len(label_N.unique()) > 1
    right = rate((predicted_N == label_N).tolist())
    return {
        "accuracy": right.value,
        "accuracy_interval": right.interval,
        "macro_f1": float(multiclass_f1_score(predicted_N, label_N, classes, average="macro")),
        # of an answer that is always the same it is 0, which the library misses by a little
        "matthews": float(multiclass_matthews_corrcoef(predicted_N, label_N, classes)) if varied else 0.0,
        "calibration_error": float(
            multiclass_calibration_error(probability_NC.float(), label_N, classes, n_bins=CALIBRATION_BINS, norm="l1")
        ),
        "confusion": multiclass_confusion_matrix(predicted_N, label_N, classes).tolist(),
        "n": len(label_N),
    }


def question_scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Exact match and F1 of answers to questions by SQuAD's rules, as shares; the nearest reference counts."""
    from torchmetrics.functional.text import squad

    places = [str(place) for place in range(len(answers))]
    predictions = [{"id": place, "prediction_text": text} for place, text in zip(places, answers, strict=True)]
    targets = [
        {"id": place, "answers": {"text": list(texts), "answer_start": [0] * len(texts)}}
        for place, texts in zip(places, references, strict=True)
    ]
    found: dict[str, Any] = squad(predictions, targets)
    return {"exact_match": float(found["exact_match"]) / 100, "f1": float(found["f1"]) / 100, "n": len(answers)}


def text_scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of texts, their F measures, BLEU, and the share that is equal to a reference.

    Of several references the nearest counts, for each measure its own; BLEU reads them all.
    """
    from torchmetrics.functional.text import rouge_score, sacre_bleu_score

    def rouge(key: str) -> float:
        # asked for several keys at once, the library takes the reference that is nearest by the first of them for all
        found = rouge_score(list(answers), [list(texts) for texts in references], accumulate="best", rouge_keys=key)
        return float(found[f"{key}_fmeasure"])

    equal = rate([text in [one.strip() for one in texts] for text, texts in zip(answers, references, strict=True)])
    return {
        **{key: rouge(key) for key in ("rouge1", "rouge2", "rougeL")},
        "bleu": 100 * float(sacre_bleu_score(list(answers), [list(texts) for texts in references])),
        "exact_match": equal.value,
        "exact_match_interval": equal.interval,
        "n": len(answers),
    }


def answer_scores(kind: str, answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Scores of written answers, by the kind of task."""
    return (question_scores if kind == "question_answering" else text_scores)(answers, references)


def majority_scores(training_labels: Sequence[int], label_N: Tensor, classes: int) -> dict[str, Any]:
    """Scores of always giving the label that training has most often, as sure of it as its share there."""
    counts = torch.bincount(torch.tensor(list(training_labels)), minlength=classes).double()
    return label_scores((counts / counts.sum()).expand(len(label_N), classes), label_N)
