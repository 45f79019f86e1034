//! What the sandbox answers otherwise than a real API server, and why that does no harm. `docs/sandbox.md` tells users.

/// Step and what differs.
pub(crate) const DIFFERENCES: &[(&str, &str)] = &[
    ("apply, conflict", "no managedFields: an apply overwrites what others applied"),
    ("apply, no manager", "same refusal, without details"),
    ("bind, no node", "the real one fails inside (500), the sandbox says what is missing (422)"),
    ("create, bad dry run", "400 for 422: a query that makes no sense"),
    ("definition, nothing stored", "the real one adds a cause that follows from the first"),
    ("delete, bad policy", "400 for 422: a query that makes no sense"),
    ("delete, other uid", "details.kind is the resource, not the kind"),
    ("delete, other version", "details.kind is the resource, not the kind"),
    ("deployment, no such subresource", "501 that says that the sandbox has it not, for 404"),
    ("json, no such operation", "400 for 422: a patch that makes no sense"),
    ("list, exact without a version", "resourceVersionMatch is not checked: every list is the newest"),
    ("list, first page", "no remainingItemCount"),
    ("list, unknown match", "resourceVersionMatch is not checked: every list is the newest"),
    ("merge, bad value", "400 for 422: a patch that makes an object of the wrong type"),
    ("pod, delete at once", "the answer shows the pod as it was, without deletionTimestamp"),
    ("scale, negative", "refused in the name of the Deployment, not of its Scale"),
    ("table of maps", "the column Data is declared as a number"),
    ("watch, bad version", "400 for 500"),
    ("widget, no version", "details.kind is the kind, not the resource"),
    ("widget, too long a list", "the cause is Invalid, not TooMany; the message is the same"),
    ("widget, too long an item", "the cause is Invalid, not TooLong; the message is the same"),
    ("widget, too small", "the real one names the cause twice"),
    ("widget, unknown member, strict", "400 for 422: a patch with unknown members"),
    ("widget, wrong type", "the real one names the cause twice"),
];
