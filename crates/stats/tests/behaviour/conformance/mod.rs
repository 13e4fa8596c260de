//! What every store promises, as functions over `&dyn Store`. Each back end runs all of them, each
//! on a store of its own that is empty.

pub(crate) mod aggregates;
pub(crate) mod listing;
pub(crate) mod model;
pub(crate) mod recording;
pub(crate) mod records;
pub(crate) mod usage;

/// Hands every promise, by its group, to a macro of a back end that makes tests of them.
macro_rules! promises {
    ($back_end:ident) => {
        $back_end! {
            recording::{
                an_attempt_reads_back_as_it_was_recorded,
                an_attempt_that_was_never_recorded_is_none,
                recording_twice_counts_once,
                a_relayed_attempt_that_turns_direct_becomes_direct,
                a_later_worse_record_changes_no_verdict,
                records_of_one_attempt_in_one_batch_are_merged,
                a_story_that_goes_on_is_added_and_changes_no_count,
                i10_no_full_address_reaches_the_store,
                times_at_the_edges_are_kept,
            },
            listing::{
                pages_run_newest_first_and_end,
                attempts_recorded_between_pages_neither_repeat_nor_hide_others,
                a_page_is_never_larger_than_the_bound,
                a_filter_holds_for_the_list_the_summary_and_the_matrix,
            },
            aggregates::{
                nothing_recorded_means_no_rate_and_no_time,
                a_summary_counts_outcomes_and_ranks_times,
                the_matrix_has_a_cell_for_each_pair_in_each_direction,
            },
            usage::{
                a_session_counts_once_however_often_and_in_whatever_order_it_is_told,
                an_allocation_counts_once_in_its_region,
                usage_is_filtered_by_app_and_time,
                usage_at_the_edges_is_kept,
                events_of_all_kinds_are_stored_once,
                a_method_counts_as_tried_and_as_working_where_a_peer_says_so,
            },
        }
    };
}
pub(crate) use promises;
