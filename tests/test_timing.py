from satn_fast.timing import compare_in_turn


def test_both_are_called_in_turn_and_compared():
    calls = []
    comparison = compare_in_turn(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3, seconds_per_round=0)
    assert "".join(calls[-6:]) == "ababab"
    assert min(comparison.ours, comparison.peer, comparison.speedup) > 0
