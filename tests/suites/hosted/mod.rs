//! What holds for a hosted store wherever it lies: in a folder, in a bucket of a fake service, in a real one.

mod ground;
mod limits;
mod looks;
mod restarts;
mod uploads;

pub(crate) use self::ground::*;

/// Every case, each in a repository of its own.
pub(crate) async fn behaves(ground: &Ground) {
    uploads::are_visible_when_they_are_answered(ground).await;
    uploads::conflict_unless_permitted(ground).await;
    uploads::have_one_winner(ground).await;
    uploads::keep_provenance_with_its_bytes(ground).await;
    uploads::of_provenance_alone(ground).await;
    uploads::that_are_no_charts_leave_nothing(ground).await;
    uploads::are_gone_when_deleted(ground).await;
    looks::find_what_others_did(ground).await;
    looks::find_a_name_that_the_index_misses(ground).await;
    looks::are_not_stopped_by_broken_packages(ground).await;
    looks::prefer_the_canonical_name(ground).await;
    looks::keep_to_their_own_repository(ground).await;
    looks::make_nothing(ground).await;
    limits::count_every_file(ground).await;
    limits::keep_the_newest_versions(ground).await;
    limits::spare_what_is_overwritten(ground).await;
    limits::remove_nothing_when_the_upload_fails(ground).await;
    limits::remove_the_index_of_chartmuseum(ground).await;
    restarts::show_the_same(ground).await;
    restarts::lose_and_bring_back_nothing(ground).await;
    restarts::survive_a_damaged_state(ground).await;
}
