import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pipeline.pictures.learning import MAX_ROWS, choose_rows, draw_verdict, verdict_figure
from pipeline.records import ModelAnnouncement, TaskKind, TaskScore, VersionAction


def score(name="courier", before=0.5, after=0.75, **changes):
    given = {
        "kind": TaskKind.CLASS, "name": name, "scores": {"current": before, "meta": after, "prototypes": 0.25},
        "chosen": "meta", "num_queries": 8,
    }  # fmt: skip
    return TaskScore(**(given | changes))


def announcement(*scores, action=VersionAction.PROMOTED, reason="it is better"):
    return ModelAnnouncement(
        action=action,
        version="learned@1f0c2a7b9d3e",
        parent="",
        serial=1,
        at_ns=0,
        reason=reason,
        scores=scores,
    )


def words(figure):
    return [
        text.get_text() for text in (*figure.texts, *(text for axes in figure.axes for text in axes.texts))
    ]


def bars(figure):
    return [round(patch.get_width(), 4) for patch in figure.axes[0].patches]


def test_a_task_is_a_bar_before_and_a_bar_with_the_candidate_and_a_mark_for_each_method():
    figure = verdict_figure(announcement(score()))
    assert bars(figure) == [0.5, 0.75]
    assert [round(float(line.get_xdata()[0]), 2) for line in figure.axes[0].lines] == [0.75, 0.25]
    assert {"courier", "class, 8 queries", "50.0 % → 75.0 %", "+25.0 points, by meta"} <= set(words(figure))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "served before", "candidate: better", "candidate: as good", "candidate: worse", "meta", "prototypes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("action", "title"),
    [
        (VersionAction.PROMOTED, "learned@1f0c2a7b9d3e: promoted"),
        (VersionAction.REJECTED, "learned@1f0c2a7b9d3e: rejected"),
        (VersionAction.ROLLED_BACK, "learned@1f0c2a7b9d3e: served again"),
    ],
)
def test_the_title_tells_the_decision_and_the_line_below_its_reason(action, title):
    assert words(verdict_figure(announcement(score(), action=action)))[:2] == [title, "it is better"]


def test_a_long_reason_is_broken_into_three_lines_at_most():
    told = words(verdict_figure(announcement(reason="too weak " * 100)))
    assert len(told[1:4]) == 3
    assert all("too weak" in line and len(line) <= 120 for line in told[1:4])
    assert told[3].endswith("…")
    assert told[4] == "no task was judged"


def test_gain_and_loss_and_neither_differ_in_colour():
    figure = verdict_figure(announcement(score("a", 0.9, 0.8), score("b", 0.8, 0.8), score("c", 0.7, 0.8)))
    colours = [patch.get_facecolor() for patch in figure.axes[0].patches[1::2]]
    assert len(set(colours)) == 3


def test_new_tasks_are_marked_and_stand_first_and_the_greatest_loss_of_each_group_on_top():
    rows = choose_rows(
        [
            score("old"),
            score("lost", 0.9, 0.1),
            score("won", is_new=True),
            score("missed", 0.5, 0.4, is_new=True),
        ]
    )
    assert [row.name for row in rows] == ["missed", "won", "lost", "old"]
    told = words(verdict_figure(announcement(*rows)))
    assert told.count("new, class, 8 queries") == 2
    assert told.count("class, 8 queries") == 2


def test_beyond_what_fits_old_tasks_that_change_least_are_left_out_and_counted():
    scores = [score(f"old {number}", 0.5, 0.5 + number / 1000) for number in range(MAX_ROWS + 3)]
    figure = verdict_figure(announcement(*scores, score("young", 0.5, 0.5, is_new=True)))
    assert len(bars(figure)) == 2 * MAX_ROWS
    assert "not charted: 4, those that change least" in words(figure)
    assert "young" in words(figure)
    assert not {"old 0", "old 1", "old 2", "old 3"} & set(words(figure))


def test_a_task_that_was_not_served_before_has_no_bar_for_it():
    figure = verdict_figure(announcement(score(scores={"meta": 0.75})))
    assert bars(figure) == [0.75]
    assert {"– → 75.0 %", "by meta"} <= set(words(figure))


@settings(max_examples=10, deadline=None)
@given(name=st.text(min_size=1, max_size=200), before=st.floats(0, 1), after=st.floats(0, 1))
def test_long_and_strange_names_are_shortened_and_drawn(name, before, after):
    figure = verdict_figure(announcement(score(name, before, after)))
    shown = words(figure)[2].replace(r"\$", "$")
    assert len(shown) <= 22
    assert bars(figure) == [round(before, 4), round(after, 4)]


def test_names_and_figures_do_not_overlap_the_bars_or_each_other():
    scores = [
        score(f"LOADING BAY {number}, north side, the camera by the wall", is_new=number < 2)
        for number in range(6)
    ]
    figure = verdict_figure(announcement(*scores, reason="camera WEST: no better than before; " * 20))
    axes, renderer = figure.axes[0], FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [text.get_window_extent(renderer) for text in (*figure.texts, *axes.texts)]
    boxes.append(figure.legends[0].get_window_extent(renderer))
    overlapping = [(i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes[:i]) if a.overlaps(b)]
    assert overlapping == []
    inside = axes.get_window_extent(renderer)
    assert not any(text.get_window_extent(renderer).overlaps(inside) for text in axes.texts)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)


@pytest.mark.parametrize("num_tasks", [0, 1, 12])
def test_the_picture_grows_with_its_tasks(tmp_path, num_tasks):
    draw_verdict(announcement(*(score(f"task {n}") for n in range(num_tasks))), tmp_path / "v.png")
    height, width = cv2.imread(str(tmp_path / "v.png")).shape[:2]
    assert width == 1320
    assert height >= 110 * (1.8 + 0.66 * max(num_tasks, 2))
