//! The real cores on a virtual clock behind modelled NATs.
