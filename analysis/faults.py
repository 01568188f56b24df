"""The fault matrix: for each fault what a user sees, which alarm tells of it, and the tests that play it without AWS.

docs/faults.md is made of these rows; a test holds each alarm to the program and each test to the tree.
"""

from __future__ import annotations

from dataclasses import dataclass

BOTH = ("serverless", "fargate")
CONFIRMING, TRANSITIONS = "tests/domain/test_confirming.py::", "tests/domain/test_transitions.py::"
PAYMENTS, LIMITS, HTTP = (
    "tests/gateway/test_payments.py::",
    "tests/gateway/test_limits.py::",
    "tests/transport/test_http.py::",
)
STORE, DYNAMODB, POSTGRES = (f"tests/contract/test_{name}.py::" for name in ("store", "dynamodb", "postgres"))
HANDLERS, SERVICE = "tests/serverless/test_handlers.py::", "tests/service/test_service.py::"
CONFIRMING = "tests/domain/test_confirming.py::"
TASKS, STORY, OVERLAYS = (f"tests/local/test_{name}.py::" for name in ("ecs_tasks", "plain_cli", "overlays"))
RESTORE = "tests/contract/test_restore.py::"


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    sees: str
    """What a user or operator sees; what becomes of the transactions."""
    tests: tuple[str, ...]
    """As pytest names them; each plays the fault, or a part of what is done about it."""
    alarms: tuple[str, ...] = ()
    """By the names of their rows; the first tells soonest. None where a person learns of it at once."""
    alternatives: tuple[str, ...] = BOTH
    without: str = ""
    """Where it has no alarm: why."""


FAULTS = (
    Fault(
        "The gateway is down",
        "Nothing is confirmed; the circuit breaker opens, no attempt is used up, and a probe finds when it is back; "
        "what is past its deadline goes to a desk without a call",
        (
            PAYMENTS + "test_an_outage_opens_the_breaker_and_a_probe_closes_it",
            CONFIRMING + "test_what_no_call_helps_any_more_goes_to_a_desk_though_the_breaker_is_open",
            "tests/service/test_stream.py::test_a_breaker_that_is_open_for_a_moment_desks_nothing_that_may_have_been_sent",
            HANDLERS + "test_without_the_network_to_the_gateway_no_attempt_is_used_up",
            SERVICE + "test_an_outage_of_the_gateway_burns_no_attempts",
        ),
        ("breaker-open", "oldest-pending"),
    ),
    Fault(
        "Something between answers in the gateway's place: a proxy's 404, a firewall's 403, a load balancer's 503",
        "It proves nothing: the circuit breaker opens, no payment goes to a desk, and each is asked about afterwards",
        (
            "tests/gateway/test_evidence.py::test_a_proxy_in_the_way_opens_the_breaker_and_puts_nothing_on_a_desk",
            "tests/gateway/test_evidence.py::test_a_stranger_is_believed_nothing",
            "tests/gateway/test_evidence.py::test_a_strangers_wish_to_be_left_alone_is_heeded",
        ),
        ("breaker-open", "gateway-errors"),
    ),
    Fault(
        "The gateway is slow",
        "Less is confirmed; leases are renewed, or no call begins on their rest; what got no answer is asked about",
        (
            HTTP + "test_a_server_that_hangs_meets_the_time_limit_and_its_connection_is_dropped",
            CONFIRMING + "test_no_call_starts_on_a_lease_that_could_end_in_it",
            HANDLERS + "test_a_batch_without_time_left_tries_nothing",
            SERVICE + "test_leases_of_slow_calls_are_renewed",
        ),
        ("gateway-slow", "oldest-pending"),
    ),
    Fault(
        "The gateway throttles",
        "The workers pause as long as it asks; no attempt is used up",
        (
            PAYMENTS + "test_the_gateways_own_rate_limit_costs_no_attempt_and_pauses_us",
            LIMITS + "test_a_pause_that_the_gateway_asks_for_holds_back_the_next_call",
        ),
        ("gateway-errors", "oldest-pending"),
    ),
    Fault(
        "The gateway answers wrongly: garbage, another amount, an error after the effect",
        "Only evidence settles; all else is asked about, and another amount goes to a person's desk",
        (
            PAYMENTS + "test_no_answer_breaks_the_reading_and_none_of_it_becomes_evidence",
            CONFIRMING + "test_an_answer_for_another_amount_is_a_persons_matter",
            CONFIRMING + "test_an_effect_without_an_answer_is_found_by_asking",
            SERVICE + "test_faults_of_the_gateway_double_and_lose_nothing",
        ),
        ("in-review", "gateway-errors"),
    ),
    Fault(
        "DynamoDB throttles",
        "What was throttled is repeated alone; a batch that does not get through ends, and leases bring its work back",
        (
            DYNAMODB + "test_throttled_statements_are_repeated_alone",
            DYNAMODB + "test_throttling_without_end_is_an_error_that_names_the_table",
        ),
        ("table-throttled", "batches-failed"),
        ("serverless",),
    ),
    Fault(
        "DynamoDB cannot be reached",
        "No claim and no call; what had been called settles after its lease, by asking",
        (
            HANDLERS + "test_without_dynamodb_a_batch_calls_nobody",
            DYNAMODB + "test_a_crash_between_any_two_api_calls_loses_and_doubles_nothing",
        ),
        ("table-errors", "batches-failed"),
        ("serverless",),
    ),
    Fault(
        "S3 cannot be reached",
        "No plan, so nothing is claimed and nothing waits for a lease; the next run begins anew",
        (HANDLERS + "test_without_s3_nothing_is_planned_and_nothing_touched",),
        ("run-failed", "oldest-pending"),
        ("serverless",),
    ),
    Fault(
        "Aurora fails over or restarts",
        "Workers reconnect, say so once, and go on with what they hold; seconds without confirmations",
        (
            SERVICE + "test_a_restart_of_the_database_is_waited_out_and_told_once",
            POSTGRES + "test_a_settle_whose_answer_was_lost_is_recognised",
            POSTGRES + "test_a_claim_whose_answer_was_lost_is_found_again",
        ),
        ("database-lost", "oldest-pending"),
        ("fargate",),
    ),
    Fault(
        "Aurora takes nothing: read-only after a failover, or out of connections",
        "Workers wait, say so once, and go on by themselves",
        (
            SERVICE + "test_a_database_that_takes_nothing_is_waited_out_and_told_once",
            SERVICE + "test_it_starts_once_the_database_lets_it_in",
        ),
        ("database-lost", "connections"),
        ("fargate",),
    ),
    Fault(
        "A zone is gone",
        "Its workers are silent; leases end, others take over, late results are fenced off; the database fails over",
        (
            STORE + "test_an_expired_lease_is_taken_over_and_the_old_holder_can_do_nothing",
            STORY + "test_a_lambda_is_killed_in_the_middle_of_its_batch",
            SERVICE + "test_a_frozen_worker_does_no_harm_when_it_wakes",
        ),
        ("oldest-pending",),
    ),
    Fault(
        "A Lambda is killed",
        "The run goes on without it; the next one takes over its batch once the leases have ended, and asks first",
        (STORY + "test_a_lambda_is_killed_in_the_middle_of_its_batch",),
        ("batches-failed",),
        ("serverless",),
    ),
    Fault(
        "A task is killed",
        "ECS starts another; the leases end, and whoever takes over asks first",
        (
            SERVICE + "test_a_killed_worker_is_relieved_when_its_leases_are_over",
            TASKS + "test_a_killed_task_is_replaced_and_the_desired_count_obeyed",
        ),
        ("tasks-missing",),
        ("fargate",),
    ),
    Fault(
        "No run starts",
        "Scheduler says why in its dead letters; the backlog grows",
        (OVERLAYS + "test_a_target_that_cannot_start_ends_in_the_dead_letter_queue",),
        ("dead-letters", "silence"),
        ("serverless",),
    ),
    Fault(
        "A poisoned transaction: it kills its worker, breaks the adapter, or cannot be read",
        "It is known at once, or by the workers lost with it (2 x `maxAttempts` in a row, 4 at least), and lands on a "
        "desk with the reason. A lost worker costs no attempt. What two were lost with is called while its worker "
        "holds nothing else, so nobody is given up with it; a task's other work has two thirds of the time meanwhile",
        (
            TRANSITIONS + "test_a_poison_that_kills_its_workers_ends_on_a_desk",
            "tests/simulation/test_poison.py::test_no_healthy_one_is_given_up_with_a_poisoned_one",
            CONFIRMING + "test_one_that_kills_its_worker_takes_no_neighbour_to_a_desk",
            "tests/service/test_stream.py::test_suspects_keep_no_others_from_being_sent_in_time",
            STORE + "test_no_text_of_an_adapter_stops_the_others",
            CONFIRMING + "test_a_defect_of_the_adapter_is_unknown_and_stops_nobody_else",
            DYNAMODB + "test_an_item_written_by_something_else_goes_to_the_desk_and_stops_nobody",
            POSTGRES + "test_a_row_that_python_cannot_read_goes_to_a_desk_and_stops_nobody",
        ),
        ("in-review",),
    ),
    Fault(
        "Clocks differ, or jump",
        "Nobody takes a lease early: Lambdas by a margin (`clockSkewSeconds`), tasks by the database's clock",
        (
            STORE + "test_a_lease_holds_for_every_clock_within_the_allowed_skew",
            POSTGRES + "test_the_databases_own_clock_counts",
            "tests/database/test_clock.py::test_a_clock_that_jumps_moves_no_lease",
            LIMITS + "test_a_clock_set_back_makes_nobody_wait",
        ),
        ("lost-fences",),
    ),
    Fault(
        "A deployment in the middle of a run",
        "Tasks end what they call and release the rest; a run goes on with the new functions",
        (
            HANDLERS + "test_a_run_goes_on_over_a_deployment",
            SERVICE + "test_sigterm_ends_calls_and_releases_the_rest",
            TASKS + "test_a_new_definition_runs_before_the_old_one_stops",
        ),
        without="nothing is wrong",
    ),
    Fault(
        "A deployment that fails",
        "ECS goes back to the version before; open work went on meanwhile",
        (TASKS + "test_a_deployment_that_fails_is_rolled_back_and_told_by_event",),
        ("deployment-failed",),
        ("fargate",),
    ),
    Fault(
        "The gateway's key is rotated",
        "A refused key costs no attempt; workers take the new one within minutes, without a deployment",
        (
            "tests/gateway/test_api_key.py::test_the_key_is_found_when_it_comes_and_changes_without_a_deployment",
            PAYMENTS + "test_wrong_credentials_cost_no_attempt",
        ),
        ("breaker-open", "gateway-errors"),
    ),
    Fault(
        "Secrets Manager is away, or refuses, or the key in it is gone or unusable",
        "Workers go on with the key that they have, say so once, and ask again; one that has none yet claims only "
        "what is past its deadline, for a desk; of what may have been sent the record says since when nobody could "
        "ask, whichever worker tried",
        (
            "tests/gateway/test_api_key.py::test_a_key_that_cannot_be_read_anew_stays_in_use_and_that_is_said_once",
            "tests/gateway/test_api_key.py::test_a_valid_key_is_not_thrown_away_for_one_that_is_none",
            "tests/service/test_beside.py::test_it_waits_for_its_first_key_and_claims_nothing_before",
            "tests/service/test_beside.py::test_what_is_late_reaches_a_desk_though_there_was_never_a_key",
            HANDLERS + "test_without_a_key_what_is_late_goes_to_a_desk_and_the_rest_is_tried_again",
            HANDLERS + "test_a_key_that_is_unreadable_for_a_moment_ends_nothing_that_may_have_been_sent",
            "tests/service/test_beside.py::test_a_key_that_is_unreadable_for_a_moment_ends_nothing_that_may_have_been_sent",
            HANDLERS + "test_the_time_that_the_key_takes_is_the_batchs_own",
            CONFIRMING + "test_what_may_have_been_sent_reaches_a_desk_though_no_worker_lives_long_enough_to_know_why",
        ),
        ("oldest-pending",),
    ),
    Fault(
        "A clock was hours ahead, and dated a lease, a next turn or a send in the far future",
        "It is not believed: workers look for such each minute, take them over and ask first; the fence holds, and the "
        "key window counts from the earliest possible send",
        (
            STORE + "test_a_turn_or_a_lease_that_a_wrong_clock_dated_is_not_waited_for",
            STORE + "test_a_first_send_that_a_wrong_clock_dated_is_not_sent_again_past_the_key_window",
            STORE + "test_what_a_dead_worker_holds_whose_turn_a_wrong_clock_dated_is_taken_over",
            STORE + "test_a_worker_whose_clock_is_hours_behind_doubles_nothing",
            "tests/service/test_beside.py::test_a_turn_too_far_ahead_is_called_forward_and_told",
        ),
        ("oldest-pending",),
    ),
    Fault(
        "The number of shards of the index is lowered while work is open, or a producer writes under a higher one",
        "All shards that were ever in use are read, and the others one after the other",
        (
            DYNAMODB + "test_lowering_the_shards_strands_nothing",
            DYNAMODB + "test_what_came_under_a_number_of_shards_that_nobody_remembers_is_found",
        ),
        ("oldest-pending",),
        ("serverless",),
    ),
    Fault(
        "The credentials of the task's role are not renewed",
        "New connections to the database log in with the last token, then wait; those that stand work on",
        (
            "tests/database/test_losses.py::test_while_no_token_can_be_signed_the_last_one_is_good_for_its_time",
            "tests/database/test_losses.py::test_a_token_that_cannot_be_signed_is_waited_out_as_a_database_that_is_away",
        ),
        ("database-lost", "oldest-pending"),
        ("fargate",),
    ),
    Fault(
        "What goes on beside the payments fails: metrics, heartbeat file, traces, the ear for new work",
        "It is told once and tried again; no payment waits for it, and the heart beats on",
        (
            "tests/service/test_beside.py::test_no_trouble_beside_ends_a_payment_and_each_is_told_once",
            "tests/service/test_beside.py::test_the_heart_beats_while_the_key_and_the_database_are_silent",
        ),
        ("silence",),
        ("fargate",),
    ),
    Fault(
        "A mistake in the config",
        "Refused before anything is made, all mistakes together, each with the line that mends it",
        (
            STORY + "test_mistakes_in_the_config_are_told_together_without_a_stack_trace",
            "tests/program/test_settings.py::test_all_mistakes_come_in_one_message_without_a_stack_trace",
            "tests/program/test_switching.py::test_another_one_is_refused_with_what_would_go_and_both_ways_on",
        ),
        without="`pulumi preview` says it to whoever made it",
    ),
    Fault(
        "The same batch or plan comes twice, or two runs overlap",
        "Claims share nothing, so each transaction is done by one of them",
        (
            HANDLERS + "test_a_batch_that_comes_twice_is_confirmed_once",
            STORE + "test_racing_claims_share_no_transaction",
        ),
        without="nothing is wrong",
    ),
    Fault(
        "Payments would not come through, and nobody sends one",
        "A canary is not confirmed in its time, or none is sent ([canary.md](canary.md)); it is in no book",
        (
            "tests/contract/test_canary.py::test_it_is_sent_once_a_turn_and_told_of_when_the_next_is_due",
            HANDLERS + "test_a_plan_sends_the_canary_and_tells_of_the_one_before",
            HANDLERS + "test_a_canary_that_cannot_be_sent_stops_no_payment",
            SERVICE + "test_it_sends_canaries_and_counts_none_of_them",
            SERVICE + "test_a_canary_that_is_not_let_in_stops_no_payment",
        ),
        ("canary",),
    ),
    Fault(
        "The traces' collector is dead, or answers nothing",
        "Payments go on; what it did not take is gone, and the event `traces lost` says so once",
        (
            HANDLERS + "test_spans_go_to_the_collector_under_the_transactions_own_traces",
            HANDLERS + "test_a_collector_that_answers_nothing_keeps_nobody",
            "tests/telemetry/test_tracing.py::test_the_service_posts_its_spans_and_tells_once_what_is_lost",
        ),
        without="no payment is at risk",
    ),
    Fault(
        "The datastore is lost, or wrong by a mistake",
        "It goes back to a moment before; what was confirmed since is found by asking ([restore.md](restore.md))",
        (
            RESTORE + "test_a_restored_store_agrees_with_the_gateway_to_the_cent",
            "tests/service/test_point_in_time.py::test_a_database_goes_back_to_the_middle_of_a_run",
        ),
        ("oldest-pending", "silence"),
    ),
)
