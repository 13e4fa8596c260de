//! NAT behaviour by RFC 4787 and RFC 5780: classification and strategy plans.
