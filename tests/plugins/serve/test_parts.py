"""New pictures are answered in parts of the size that cost least; those that are known together."""

from __future__ import annotations

from vqazoo_serve.parts import AGAIN, SIZES, TRIES, Parts


def cut(parts: Parts, pictures: str, new: str) -> list[tuple[int, str]]:
    cut = parts.cut(pictures, lambda picture: picture, lambda picture: picture in new)
    return [(count, "".join(part)) for count, part in cut]


def learnt(cost: dict[int, float]) -> Parts:
    parts = Parts()
    for size in SIZES * TRIES:
        parts.note(size, size * cost[size])
    return parts


def test_all_questions_about_a_picture_stay_together_and_known_ones_go_first():
    assert cut(Parts(), "abacabx", new="abc") == [(0, "x"), (3, "aaabbc")]


def test_every_row_is_in_one_part():
    pictures = "abcdefghijklmnopqrstuvwxyzab"
    parts = cut(learnt({4: 3.0, 8: 1.0, 16: 2.0, 32: 2.0}), pictures, new=pictures)
    assert sorted("".join(part for _, part in parts)) == sorted(pictures)
    assert [count for count, _ in parts] == [8, 8, 8, 2]


def test_the_size_that_costs_least_is_taken_of_those_that_are_there():
    parts = learnt({4: 2.0, 8: 3.0, 16: 1.0, 32: 4.0})
    assert [parts.size(waiting) for waiting in (1, 3, 4, 15, 16, 40)] == [1, 3, 4, 4, 16, 16]


def test_a_size_that_became_cheap_is_noticed():
    parts = learnt({4: 2.0, 8: 3.0, 16: 1.0, 32: 4.0})
    taken = []
    for _ in range(40 * AGAIN):
        size = parts.size(32)
        taken.append(size)
        parts.note(size, size * {4: 2.0, 8: 3.0, 16: 1.0, 32: 0.5}[size])
    assert taken[0] == 16
    assert taken[-1] == 32


def test_a_fixed_size_is_kept():
    assert cut(Parts(2), "abcde", new="abcde") == [(2, "ab"), (2, "cd"), (1, "e")]
