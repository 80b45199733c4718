"""Cases of what is right that the broker does not do yet: said in every run, run with --not-yet. A name leaves this list
with the change that makes it pass."""

NAMES = {
    'a_full_queue_takes_no_will_from_others', 'a_full_store_gets_room', 'a_log_that_nobody_reads',
    'a_publish_with_very_many_matches', 'a_second_start_by_mistake', 'a_store_that_is_not_there',
    'an_address_that_comes_later', 'announced_packet_size_is_one_that_clients_take', 'answers_fit_the_client',
    'assigned_ids_tell_nothing', 'burst_at_qos_0', 'clients_do_not_publish_to_sys', 'expired_messages_take_no_room',
    'expired_retained_messages_leave', 'keep_alive_counts_packets', 'keep_alive_is_bounded', 'killed_at_suback',
    'largest_publish_is_not_for_all', 'little_address_space', 'more_filters_than_allowed',
    'options_that_say_what_holds_anyway', 'ready_is_said', 'retained_messages_are_bounded',
    'retained_set_larger_than_a_window', 'second_copies_are_not_made', 'session_life_is_for_sessions_of_before',
    'signals_do_not_end_it', 'wills_of_all_sessions_outlive_the_broker', 'wrong_acknowledgement',
    'wrong_acknowledgement_keeps_the_message',
}
