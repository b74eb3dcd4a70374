//! A user, as a client is told: one shape, whatever it is read with.

/// `json_object` of a [`Person`](crate::users::person::Person), for the user under an alias.
macro_rules! person_json {
    ($u:literal) => {
        concat!(
            "json_object('id', ",
            $u,
            ".id, 'name', ",
            $u,
            ".name, 'email', ",
            $u,
            ".email,
             'email_verified', json(iif(",
            $u,
            ".email_verified, 'true', 'false')),
             'image', ",
            $u,
            ".image, 'username', ",
            $u,
            ".username, 'display_username', ",
            $u,
            ".display_username,
             'phone_number', ",
            $u,
            ".phone_number,
             'phone_number_verified', json(iif(",
            $u,
            ".phone_number_verified, 'true', 'false')),
             'two_factor_enabled', json(iif(exists (select 1 from two_factor
                                                    where user_id = ",
            $u,
            ".id and verified_at is not null), 'true', 'false')),
             'is_anonymous', json(iif(",
            $u,
            ".is_anonymous, 'true', 'false')),
             'created_at', ",
            $u,
            ".created_at, 'updated_at', ",
            $u,
            ".updated_at)"
        )
    };
}

pub(crate) use person_json;
