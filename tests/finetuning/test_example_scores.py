"""Scores equal those of the reference implementations on drawn cases."""

import random
import re
import string
from collections import Counter

import pytest
import torch

from smallgpt.finetuning.scores import label_scores, majority_scores, question_scores, text_scores

WORDS = ["the", "a", "cat", "Cat,", "sat", "on", "mat.", "An", "42", "café", "don't", "U.S.", "of", "twenty-two", "!"]


def texts(numbers: random.Random, most: int = 9) -> str:
    return " ".join(numbers.choice(WORDS) for _ in range(numbers.randint(1, most)))


@pytest.mark.parametrize("classes", [2, 5])
def test_labels_equal_scikit_learn(classes: int):
    metrics = pytest.importorskip("sklearn.metrics")
    for case in range(25):
        generator = torch.Generator().manual_seed(case)
        probability = torch.softmax(2 * torch.randn(60, classes, generator=generator), -1)
        label = torch.randint(classes, (60,), generator=generator)
        found, predicted = label_scores(probability, label), probability.argmax(-1)
        assert found["accuracy"] == pytest.approx(metrics.accuracy_score(label, predicted))
        assert found["macro_f1"] == pytest.approx(metrics.f1_score(label, predicted, average="macro"), abs=1e-6)
        assert found["matthews"] == pytest.approx(metrics.matthews_corrcoef(label, predicted), abs=1e-6)
        assert found["confusion"] == metrics.confusion_matrix(label, predicted, labels=range(classes)).tolist()
        assert found["calibration_error"] == pytest.approx(calibration_error(probability, label), abs=1e-5)


def calibration_error(probability: torch.Tensor, label: torch.Tensor, bins: int = 15) -> float:
    """Its definition (arXiv 1706.04599): per bin, the distance of the accuracy from the mean confidence."""
    confidence, predicted = probability.max(-1)
    error = 0.0
    for bin_ in range(bins):
        inside = (confidence > bin_ / bins) & (confidence <= (bin_ + 1) / bins)
        if inside.any():
            gap = (predicted[inside] == label[inside]).float().mean() - confidence[inside].mean()
            error += float(gap.abs()) * float(inside.float().mean())
    return error


def test_an_answer_that_is_always_the_same_says_nothing():
    label = torch.tensor([0, 1, 1, 0, 1])
    found = majority_scores([1, 1, 0, 1], label, 2)
    assert (found["accuracy"], found["matthews"], found["n"]) == (0.6, 0.0, 5)
    low, high = found["accuracy_interval"]
    assert low < 0.6 < high


def plain(text: str) -> list[str]:
    """Words of an answer as SQuAD compares them: small letters, no punctuation, no articles."""
    kept = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def exact_match(right: str, answer: str) -> float:
    return float(plain(right) == plain(answer))


def f1_score(right: str, answer: str) -> float:
    shared = (Counter(plain(right)) & Counter(plain(answer))).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(plain(answer)), shared / len(plain(right))
    return 2 * precision * recall / (precision + recall)


def test_answers_to_questions_equal_squad_s_own_rules():
    numbers = random.Random(1)
    answers, references = [], []
    for case in range(50):
        right = [texts(numbers) for _ in range(numbers.randint(1, 3))]
        answers.append(right[0].upper() if case % 5 == 0 else texts(numbers))
        references.append(right)
    found = question_scores(answers, references)
    pairs = list(zip(answers, references, strict=True))
    exact, f1 = ([max(f(one, answer) for one in right) for answer, right in pairs] for f in (exact_match, f1_score))
    assert found["exact_match"] == pytest.approx(sum(exact) / 50) and found["exact_match"] > 0
    assert found["f1"] == pytest.approx(sum(f1) / 50)


def drawn(most: int) -> tuple[list[str], list[list[str]]]:
    """Fifty answers, each with one to `most` right ones; one answer is right."""
    numbers = random.Random(2)
    answers = [texts(numbers, 20) for _ in range(50)]
    references = [[texts(numbers, 20) for _ in range(numbers.randint(1, most))] for _ in range(50)]
    references[3][0] = answers[3]
    return answers, references


@pytest.mark.parametrize("most", [1, 3])
def test_texts_equal_rouge_score(most: int):
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    answers, references = drawn(most)
    found = text_scores(answers, references)
    keys = ("rouge1", "rouge2", "rougeL")
    reference = scorer.RougeScorer(list(keys))
    each = [reference.score_multi(right, answer) for right, answer in zip(references, answers, strict=True)]
    for key in keys:
        assert found[key] == pytest.approx(sum(scores[key].fmeasure for scores in each) / 50, abs=1e-6)
    assert found["exact_match"] == 1 / 50


@pytest.mark.parametrize("most", [1, 3])
def test_texts_equal_sacrebleu(most: int):
    sacrebleu = pytest.importorskip("sacrebleu")
    answers, references = drawn(most)
    columns = [[right[place] if place < len(right) else None for right in references] for place in range(most)]
    expected = sacrebleu.corpus_bleu(answers, columns, force=True).score
    assert expected > 0 and text_scores(answers, references)["bleu"] == pytest.approx(expected, abs=1e-3)
