"""The power of a study that is not made yet, as the command prints it."""

import pytest


def test_a_table_of_readers_and_films(run):
    code, text, err = run("study", "power", "--effect", "0.043800322", "--readers", "6,10", "--films", "111,69+96")
    assert (code, err) == (0, "")
    assert "| 6 | 0.553 |" in text and "| 10 |" in text and "| 0.805 |" in text and "| 69 + 96 films |" in text
    assert "Van Dyke 1993" in text


def test_the_published_chi_square(run):
    code, text, err = run("study", "power", "--rates", "0.45,0.6888888888888889", "--readers", "4", "--films", "20+45")
    assert (code, err) == (0, "") and "| 4 | 0.956 |" in text and "takes readings as independent" in text


def test_a_pilots_components_count(run):
    given = ("--components", "0.00020040252,0.00034661371,0.00034407483,0.00023902837,0.00080228827,114")
    code, text, _ = run("study", "power", "--effect", "0.043800322", "--readers", "10", "--films", "165", *given)
    assert code == 0 and "| 10 | 0.805 |" in text and "given." in text
    doubled = given[1].removesuffix("114") + "228"  # the same spread from twice the cases
    other = run("study", "power", "--effect", "0.043800322", "--readers", "10", "--films", "330", "--components",
                doubled)[1]
    assert "| 10 | 0.805 |" in other


@pytest.mark.parametrize("wrong", [("--readers", "0"), ("--readers", "1"), ("--readers", "four"), ("--films", "1"),
                                   ("--films", "1+2+3"), ("--films", "-5"), ("--effect", "0"), ("--effect", "nan"),
                                   ("--components", "1,2"), ("--components", "0,1,0,0,1,10"), ("--rates", "0.4"),
                                   ("--rates", "0.4,2"), ("--rates", "0.4,0.6", "--films", "60000"),
                                   ("--components", "0,inf,0,0,1,10")], ids=" ".join)
def test_wrong_wishes_get_one_sentence(run, wrong):
    code, out, err = run("study", "power", *wrong)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
