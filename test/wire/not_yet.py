"""Cases of what is right that the broker does not do yet: said in every run, run with --not-yet. A name leaves this list
with the change that makes it pass."""

NAMES = {
    'a_full_queue_takes_no_will_from_others',
    'announced_packet_size_is_one_that_clients_take', 'answers_fit_the_client', 'burst_at_qos_0',
    'clients_do_not_publish_to_sys', 'expired_messages_take_no_room', 'expired_retained_messages_leave',
    'keep_alive_is_bounded', 'killed_at_suback', 'largest_publish_is_not_for_all', 'more_filters_than_allowed',
    'retained_messages_are_bounded', 'retained_set_larger_than_a_window', 'second_copies_are_not_made',
    'session_life_is_for_sessions_of_before', 'wills_of_all_sessions_outlive_the_broker', 'wrong_acknowledgement',
    'wrong_acknowledgement_keeps_the_message',
}
