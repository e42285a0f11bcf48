from satn_fast.timing import TimedElsewhere, compare_in_turn


def test_both_are_called_in_turn_and_compared():
    calls = []
    comparison = compare_in_turn(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3, seconds_per_round=0)
    assert "".join(calls[-6:]) == "ababab"
    assert min(comparison.ours, comparison.peer, comparison.speedup) > 0


def test_a_peer_in_another_process_times_itself():
    asked = []
    peer = TimedElsewhere(lambda calls: asked.append(calls) or 0.5)
    comparison = compare_in_turn(lambda: None, peer, rounds=3, seconds_per_round=2)
    assert asked == [1, 1, 4, 4, 4]
    assert comparison.peer == 0.5
