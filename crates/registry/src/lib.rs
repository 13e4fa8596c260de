//! Who is where, rooms and inboxes, behind one trait.
